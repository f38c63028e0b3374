"""Plots that compare test predictions with those of another network: the teacher, or a control run."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_tasks.callbacks.answers import AnswersPlot, draw_bands
from lightning_tasks.callbacks.bars import draw_stacked_bars
from lightning_tasks.callbacks.plots import class_names, save_figure, subject
from lightning_tasks.frozen_teacher import FrozenTeacher
from lightning_tasks.runs.data_spec import names_in, positions
from lightning_tasks.runs.plot_style import BLUE, ORANGE, SKY, VERMILLION, drawable

KINDS = {  # of the student's answers, and their colours
    "the same answer": (BLUE, "white"),
    "right where the teacher is not": (SKY, "black"),
    "wrong where the teacher is right": (VERMILLION, "black"),
    "wrong in another way": (ORANGE, "black"),
}


class ComparisonPlot(AnswersPlot):
    """Collects the answers of another network to the same images too.

    Attributes:
        other_confidence: Its greatest probability for each image. Shape (N,).
        other_predicted: Its class. Shape (N,).
    """

    def other(self, pl_module: LightningModule) -> Callable[[Tensor], Tensor]:
        """Give the other network, which maps images (B, C, H, W) to logits (B, num_classes)."""
        raise NotImplementedError

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        super().on_test_epoch_start(trainer, pl_module)
        self._network = self.other(pl_module)
        self._others: list[tuple[Tensor, Tensor]] = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keep both answers to a batch."""
        super().on_test_batch_end(trainer, pl_module, outputs, batch)
        with trainer.precision_plugin.forward_context():  # the precision of the task's own answers
            logits = self._network(batch[0])[:, : outputs.shape[1]]  # of the classes, where there are more heads
        confidence, predicted = logits.float().softmax(dim=1).max(dim=1)
        self._others.append((confidence, predicted))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self.other_confidence, self.other_predicted = (
            torch.cat(each).cpu() for each in zip(*self._others, strict=True)
        )
        super().on_test_end(trainer, pl_module)


class AgreementPlot(ComparisonPlot):
    """Draws how a student answers where its teacher is right and where it is wrong, as `figures/agreement.png`."""

    needs = ("teacher",)

    def other(self, pl_module: LightningModule) -> Callable[[Tensor], Tensor]:
        """Give the teacher."""
        return pl_module.teacher  # type: ignore[return-value]

    def draw(self, trainer: Trainer) -> None:
        """Draw a bar for images that the teacher knows, and one for those that it does not."""
        counts = agreement_counts(self.predicted, self.other_predicted, self.labels)
        save_figure(trainer, draw_agreement(counts, subject(trainer)), "test/agreement")


class ChangesPlot(ComparisonPlot):
    """Draws test images that another run had wrong and this one has right, and back, as `figures/changes.png`.

    For example the same student without distillation:
    `python cli.py test --config CONFIG --ckpt_path best --trainer.callbacks=ChangesPlot
    --trainer.callbacks.control=logs/tinyimagenet_control`. Each image has its true class above, and the wrong answer,
    of whichever network gave it, with its probability below; those of which the right one is surest come first.

    Args:
        control: The other run: a checkpoint, or a folder (see find_checkpoint). Its network is the task's first: the
            student, or a classifier's only one.
        num_images: Images of each kind.
    """

    def __init__(self, control: str, num_images: int = 16) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.control = control
        self.num_images = num_images

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the other run, before a long one.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it does not fit, see FrozenTeacher.load.
        """
        super().setup(trainer, pl_module, stage)
        network = next(iter(pl_module.networks.values()))  # type: ignore[operator]
        self._control = FrozenTeacher(copy.deepcopy(network))
        self._control.load(self.control, "control", pl_module.data_spec)  # type: ignore[arg-type]

    def other(self, pl_module: LightningModule) -> Callable[[Tensor], Tensor]:
        """Give the other run's network, with the classes in the task's order."""
        network = self._control.to(pl_module.device, pl_module.dtype)  # type: ignore[arg-type]
        order = positions(names_in(pl_module.data_spec), names_in(self._control.data_spec or {}))  # type: ignore[arg-type]
        ordered = network if order is None else lambda x: network(x)[:, order]
        return pl_module.as_tested(ordered)  # type: ignore[operator]

    def draw(self, trainer: Trainer) -> None:
        """Draw a band for each direction of change."""
        ours, theirs = self.predicted == self.labels, self.other_predicted == self.labels
        ours_first = self._band(trainer, ours & ~theirs, self.confidence, self.other_predicted, self.other_confidence)
        theirs_first = self._band(trainer, theirs & ~ours, self.other_confidence, self.predicted, self.confidence)
        bands = [
            (f"{name}: {len(images)} of {count}", images, answers)
            for name, (count, images, answers) in (
                ("right here, wrong there (below: its answer)", ours_first),
                ("right there, wrong here (below: our answer)", theirs_first),
            )
            if count
        ]
        if bands:
            of, there = subject(trainer), drawable(str(self.control))
            title = (
                f"{of}: test accuracy {ours.float().mean():.1%} here, {theirs.float().mean():.1%} in {there};"
                f" both right: {int((ours & theirs).sum())} of {len(ours)} images"
            )
            save_figure(trainer, draw_bands(bands, title), "test/changes")

    def _band(
        self, trainer: Trainer, chosen: Tensor, order: Tensor, predicted: Tensor, confidence: Tensor
    ) -> tuple[int, Tensor, list[tuple[str, str, float]]]:
        """Count the chosen images, and give those of the greatest `order` with the wrong answers to them."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        indices = torch.nonzero(chosen).flatten()
        first = indices[order[indices].argsort(descending=True, stable=True)][: self.num_images].tolist()
        names = class_names(trainer)
        answers = [(names[self.labels[i]], names[predicted[i]], confidence[i].item()) for i in first]
        images = data.test_set.__getitems__(first)[0] if first else torch.empty(0)
        return len(indices), images, answers


def agreement_counts(predicted: Tensor, taught: Tensor, labels: Tensor) -> Tensor:
    """Count how a student answers images that its teacher has right, and those that it has wrong.

    Args:
        predicted: Classes that the student answers. Shape (N,).
        taught: Predicted classes of the teacher. Shape (N,).
        labels: The true ones. Shape (N,).

    Returns:
        Rows: the teacher is right, wrong. Columns: see KINDS. Shape (2, 4), int64.
    """
    right, knows = predicted == labels, taught == labels
    same = predicted == taught
    kinds = torch.stack([same, right & ~same, ~right & ~same & knows, ~right & ~same & ~knows])
    return torch.stack([(kinds & knows).sum(1), (kinds & ~knows).sum(1)])


def draw_agreement(counts: Tensor, of: str) -> Figure:
    """Draw a bar for the images that the teacher has right and one for the others, stacked of the student's answers.

    Args:
        counts: See `agreement_counts`.
        of: Network whose predictions they are.
    """
    bars = {
        f"the teacher is {what}: {int(row.sum())}": [(int(each), f"{each / row.sum():.0%}") for each in row]
        for what, row in zip(("right", "wrong"), counts, strict=True)
    }
    agreed = counts[:, 0].sum() / counts.sum()
    return draw_stacked_bars(bars, KINDS, f"{of}: {agreed:.1%} of its answers are those of the teacher", "test images")
