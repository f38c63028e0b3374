"""The confusion matrix of the tested network."""

import itertools
from typing import TYPE_CHECKING, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.callbacks.pictures import Picture, add_axes, save_figure

if TYPE_CHECKING:
    from lightning_tasks import ImageTask

FEW = 20


class ConfusionPicture(Picture):
    """Draws the confusion matrix of the test as `figures/confusion.png`, and lists the pairs confused most often.

    Works with every task that has `test_confusion`. Rows are true classes and sum to 1. Of up to 20 classes the shares
    are written in; more are a map, by groups of classes where the data have them (the superclasses of CIFAR-100), else
    in an order that brings together what is confused.
    """

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the counts of the test that has just ended."""
        counts = cast("ImageTask", pl_module).test_confusion.compute().cpu().numpy()
        data = trainer.datamodule  # type: ignore[attr-defined]
        figure = draw_confusion(counts, data.class_names, data.class_groups)
        save_figure(trainer, figure, "confusion")


def draw_confusion(counts: np.ndarray, names: list[str], groups: list[str] | None = None) -> Figure:
    """Draw a confusion matrix.

    Args:
        counts: Number of samples of each true (row) and predicted (column) class. Shape (C, C).
        names: Names of the C classes.
        groups: Name of the group of each class.
    """
    few = len(names) <= FEW
    groups = None if few else groups
    order = np.arange(len(names)) if few else group_order(counts, groups) if groups else confusion_order(counts)
    counts, names = counts[np.ix_(order, order)], [names[index] for index in order]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # All in inches: the matrix, so that a name of `size` points is no higher than its row; names beside it; the list.
    side, size = (max(5.0, 0.34 * len(names)), 9.0) if few else (0.105 * len(names), 6.5)
    lines = ["most confused", "(true -> predicted)", "", *worst_pairs(counts, names, int(4 * side))]
    beside = 0.7 + max(map(len, names)) * size / 115
    right = beside + side + 0.2 + (max(map(len, groups)) * 7 / 115 if groups else 0)
    width, height = right + 0.1 + max(map(len, lines)) * 8 / 115, beside + side + 0.4
    figure = Figure(figsize=(width, height))
    axes = add_axes(figure, beside, beside, side, side)
    # The square root makes rare confusions visible beside the diagonal.
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0, size=size)
    axes.set_yticks(range(len(names)), names, size=size)
    together = "groups of classes are framed" if groups else "classes that are confused stand together"
    cells = "cells in %" if few else together
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {np.trace(counts) / counts.sum():.2%} ({cells})")
    if groups:
        _frame_groups(axes, [groups[index] for index in order])
    place = right / width, (beside + side) / height
    figure.text(*place, "\n".join(lines), va="top", family="monospace", size=8)
    if few:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.35 else "black"
            said = f"{100 * shares[row, column]:.0f}" if shares[row, column] >= 0.005 else "<1"
            axes.text(column, row, said, ha="center", va="center", color=color, size=9)
    else:
        ticks = np.array([0, 0.05, 0.2, 0.5, 1])
        bar_axes = add_axes(figure, right, beside, 1.9, 0.2)
        bar = figure.colorbar(image, cax=bar_axes, orientation="horizontal", ticks=np.sqrt(ticks))
        bar.ax.set_xticklabels([f"{tick:.0%}" for tick in ticks], size=8)
        bar.set_label("share of the row", size=8)
    return figure


def worst_pairs(counts: np.ndarray, names: list[str], most: int) -> list[str]:
    """List the pairs of classes that are confused most often, the worst first.

    Args:
        counts: Number of samples of each true (row) and predicted (column) class. Shape (C, C).
        names: Names of the C classes.
        most: Length of the list at most.

    Returns:
        Lines "<count>  <true class> -> <predicted class>".
    """
    wrong = counts * (1 - np.eye(len(names), dtype=counts.dtype))
    pairs = [np.unravel_index(index, wrong.shape) for index in np.argsort(-wrong, axis=None, kind="stable")[:most]]
    return [f"{int(wrong[pair]):4d}  {names[pair[0]]} -> {names[pair[1]]}" for pair in pairs if wrong[pair]]


def _frame_groups(axes: Axes, groups: list[str]) -> None:
    """Draw a square around each run of classes of one group, and write its name to the right of it."""
    start = 0
    for name, run in itertools.groupby(groups):
        size = len(list(run))
        axes.add_patch(
            Rectangle((start - 0.5, start - 0.5), size, size, fill=False, edgecolor="tab:red", linewidth=0.6)
        )
        axes.text(len(groups) + 0.3, start + size / 2 - 0.5, name, va="center", size=7)
        start += size


def group_order(counts: np.ndarray, groups: list[str]) -> np.ndarray:
    """Order classes by group; groups that are confused with each other stand together.

    Args:
        counts: Number of samples of each true (row) and predicted (column) class. Shape (C, C).
        groups: Name of the group of each class; at least two groups.

    Returns:
        The classes in order. Shape (C,).
    """
    names, of = np.unique(groups, return_inverse=True)
    member = np.eye(len(names), dtype=counts.dtype)[of]
    rank = np.argsort(confusion_order(member.T @ counts @ member))
    return np.argsort(rank[of], kind="stable")


def confusion_order(counts: np.ndarray) -> np.ndarray:
    """Order classes so that those confused with each other stand together, by hierarchical clustering.

    Two classes are the nearer, the greater the shares of each that are taken for the other.

    Args:
        counts: Number of samples of each true (row) and predicted (column) class. Shape (C, C).

    Returns:
        The classes in order. Shape (C,).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distances = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distances, 0)
    return leaves_list(linkage(squareform(distances), "average", optimal_ordering=True))
