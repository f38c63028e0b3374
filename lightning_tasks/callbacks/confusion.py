"""The confusion matrix of the tested network."""

from typing import TYPE_CHECKING, cast

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.callbacks.pictures import Picture, save_figure

if TYPE_CHECKING:
    from lightning_tasks import ImageTask


class ConfusionPicture(Picture):
    """Draws the confusion matrix of the test as `figures/confusion.png`, and lists the pairs confused most often.

    Works with every task that has `test_confusion`. Rows are true classes and sum to 1. Up to 20 classes are named and
    the shares are written in; more are drawn as a map, with the worst pairs beside it.
    """

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the counts of the test that has just ended."""
        counts = cast("ImageTask", pl_module).test_confusion.compute().cpu().numpy()
        names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        save_figure(trainer, draw_confusion(counts, names), "confusion")


def draw_confusion(counts: np.ndarray, names: list[str]) -> Figure:
    """Draw a confusion matrix.

    Args:
        counts: Number of samples of each true (row) and predicted (column) class. Shape (C, C).
        names: Names of the C classes.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    num_classes = len(names)
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes, side = figure.subplots(1, 2, width_ratios=[2.2, 1])
    # The square root makes rare confusions visible beside the diagonal.
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    ticks = np.array([0, 0.01, 0.05, 0.2, 0.5, 1])
    bar = figure.colorbar(image, ax=axes, ticks=np.sqrt(ticks), shrink=0.8)
    bar.ax.set_yticklabels([f"{tick:.0%}" for tick in ticks])
    if num_classes <= 20:
        axes.set_xticks(range(num_classes), names, rotation=45, ha="right")
        axes.set_yticks(range(num_classes), names)
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.35 else "black"
            axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=color, size=8)
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {np.trace(counts) / counts.sum():.2%} (cells in %)")
    wrong = counts * (1 - np.eye(num_classes, dtype=counts.dtype))
    lines = ["most confused (true -> predicted)", ""]
    for index in np.argsort(wrong, axis=None, kind="stable")[::-1][:20]:
        row, column = np.unravel_index(index, wrong.shape)
        if wrong[row, column]:
            lines.append(f"{int(wrong[row, column]):4d}  {names[row]} -> {names[column]}")
    side.axis("off")
    side.text(0, 1, "\n".join(lines), va="top", family="monospace", size=8)
    return figure
