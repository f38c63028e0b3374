"""The mistakes of the test by how severe they are: how far up a tree of classes the true and the predicted one meet."""

from collections.abc import Mapping

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_tasks.callbacks.answers import AnswersPlot, draw_bands
from lightning_tasks.callbacks.plots import save_figure, subject


class MistakesBySeverityPlot(AnswersPlot):
    """Draws the surest mistakes of each kind, mild ones first, as `figures/mistakes_by_severity.png`.

    The kind of a mistake is the nearest level of the data's tree of classes on which the true and the predicted class
    are the same; on CIFAR-100 "same superclass", "same group" and "across groups". Kinds without mistakes are left out.

    Args:
        num_images: Images of each kind.
    """

    def __init__(self, num_images: int = 8) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.num_images = num_images

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse data without a tree of classes before a long run."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not data.class_levels:
            raise ValueError(
                f"MistakesBySeverityPlot needs classes with levels above them; {data.dataset_name} has none"
            )

    def draw(self, trainer: Trainer) -> None:
        """Draw a band for each kind."""
        levels = trainer.datamodule.class_levels  # type: ignore[attr-defined]
        kinds = kinds_of_mistakes(levels)
        wrong = torch.nonzero(self.predicted != self.labels).flatten()
        severity = severities(self.labels[wrong], self.predicted[wrong], levels)
        bands = []
        for index, kind in enumerate(kinds):
            chosen = self.surest(wrong[severity == index])
            if len(chosen):
                title = f"{kind}: {len(chosen)} of {len(wrong)} mistakes ({len(chosen) / len(wrong):.0%})"
                bands.append((title, *self.answered(trainer, chosen[: self.num_images])))
        if bands:
            title = f"{subject(trainer)}: the surest mistakes of each kind, mild to severe, in "
            title += f"{len(self.labels)} test images"
            save_figure(trainer, draw_bands(bands, title), "test/mistakes_by_severity")


def kinds_of_mistakes(levels: Mapping[str, list[str]]) -> list[str]:
    """Name the kinds of mistakes, mild to severe: "same <level>" for each level, and "across <levels>" of the last.

    Args:
        levels: For each level above the classes, nearest first, the name of the group of each class; at least one.
    """
    last = [*levels][-1]
    return [*(f"same {level}" for level in levels), f"across {last}{'es' if last.endswith('s') else 's'}"]


def severities(labels: Tensor, predicted: Tensor, levels: Mapping[str, list[str]]) -> Tensor:
    """Count the levels on which the true and the predicted class differ: the index of the kind of a mistake.

    Args:
        labels: True classes. Shape (N,).
        predicted: Predicted classes. Shape (N,).
        levels: See `kinds_of_mistakes`.

    Returns:
        Shape (N,), int64, from 0 (same on the nearest level) to the number of levels (on none).
    """
    differ = torch.zeros_like(labels)
    for level in levels.values():
        of = torch.from_numpy(np.unique(level, return_inverse=True)[1])
        differ += of[labels] != of[predicted]
    return differ
