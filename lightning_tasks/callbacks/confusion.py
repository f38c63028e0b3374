"""The confusion matrix of the tested network."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.callbacks.plots import Plot, add_axes, class_names, save_figure, subject
from lightning_tasks.runs.plot_style import VERMILLION, drawable, families, styled

FEW = 20


class ConfusionPlot(Plot):
    """Draws the confusion matrix of the test as `figures/confusion.png`, and lists the pairs confused most often.

    Works with every task that has `test_confusion`. Rows are true classes and sum to 1. Of up to 20 classes the shares
    are written in; more are a map. Classes stand as the data's tree of classes has them (the superclasses and groups of
    CIFAR-100); many without a tree in an order that brings together what is confused. Of a task that has
    `level_confusions`, those are drawn likewise, as `figures/confusion_<level>.png`.
    """

    needs = ("test_confusion",)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the counts of the test that has just ended."""
        task: Any = pl_module
        data = trainer.datamodule  # type: ignore[attr-defined]
        levels = [[drawable(name) for name in level] for level in data.class_levels.values()]
        of = subject(trainer)
        counts = task.test_confusion.compute().cpu().numpy()
        save_figure(trainer, draw_confusion(counts, class_names(trainer), levels, of), "test/confusion")
        for level, counts in getattr(task, "level_confusions", {}).items():
            names = [drawable(name) for name in task.level_names[level]]
            figure = draw_confusion(counts.cpu().numpy(), names, levels_above(names, levels), f"{of}, {level}")
            save_figure(trainer, figure, f"test/confusion_{level}")


def levels_above(names: list[str], levels: Sequence[list[str]]) -> list[list[str]]:
    """Say what the names of one level belong to on each level above it.

    Args:
        names: All names of the level, without repetition.
        levels: For each level above the classes, nearest first, the name of the group of each class.

    Returns:
        Of each level above that one, from near to far, what each name belongs to; none if it is the farthest.
    """
    for index, level in enumerate(levels):
        if set(level) == set(names):
            return [[dict(zip(level, above, strict=True))[name] for name in names] for above in levels[index + 1 :]]
    return []


@styled
def draw_confusion(
    counts: np.ndarray, names: list[str], levels: Sequence[list[str]] = (), of: str = "network"
) -> Figure:
    """Draw a confusion matrix.

    Args:
        counts: Number of samples of each true (row) and predicted (column) class. Shape (C, C).
        names: Names of the C classes.
        levels: For each level above the classes, nearest first, the name of the group of each class.
        of: Network whose predictions they are.
    """
    few = len(names) <= FEW
    order = confusion_order(counts) if not few and not levels else tree_order(counts, levels)
    counts, names = counts[np.ix_(order, order)], [names[index] for index in order]
    levels = [[level[index] for index in order] for level in levels]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # All in inches: the matrix, so that a name of `size` points is no higher than its row; names beside it; the list.
    side, size = (max(5.0, 0.34 * len(names)), 9.0) if few else (0.105 * len(names), 6.5)
    lines = ["most confused", "(true -> predicted)", "", *worst_pairs(counts, names, int(4 * side))]
    beside = 0.7 + max(map(len, names)) * size / 115
    above = max(size, 7.0)  # size of the names of levels
    widths = [0.15 + max(map(len, level)) * above / 115 for level in levels]
    right = beside + side + 0.2 + sum(widths)
    width, height = right + 0.1 + max(map(len, lines)) * 8 / 115, beside + side + 0.4
    figure = Figure(figsize=(width, height))
    axes = add_axes(figure, beside, beside, side, side)
    # The square root makes rare confusions visible beside the diagonal.
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0, size=size)
    axes.set_yticks(range(len(names)), names, size=size)
    placed = "groups of classes are framed" if levels else "classes that are confused stand together"
    said = ("cells in %, groups are framed" if levels else "cells in %") if few else placed
    axes.set(
        xlabel="predicted", ylabel="true", title=f"{of}: test accuracy {np.trace(counts) / counts.sum():.2%} ({said})"
    )
    for index, level in enumerate(levels):
        left = side + 0.08 + sum(widths[:index])
        _frame(axes, level, left * len(names) / side - 0.5, above, thick=few or index > 0)
    place = right / width, (beside + side) / height
    figure.text(*place, "\n".join(lines), va="top", family=families("monospace"), size=8)
    if few:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.35 else "black"
            said = f"{100 * shares[row, column]:.0f}" if shares[row, column] > 0.005 else "<1"
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


def _frame(axes: Axes, level: list[str], left: float, size: float, thick: bool) -> None:
    """Draw a square around each run of classes of one name, and write the name to the right of it.

    Args:
        axes: Axes of the matrix.
        level: Name of what each class belongs to, in the order of the matrix.
        left: Left edge of the names.
        size: Font size of the names, in points.
        thick: Draw black squares, and such a line beside each name, as long as its run; else thin coloured ones.
    """
    color, linewidth = ("black", 1.4) if thick else (VERMILLION, 0.6)
    start = 0
    for name, run in itertools.groupby(level):
        count = len(list(run))
        square = Rectangle((start - 0.5, start - 0.5), count, count, fill=False, edgecolor=color, linewidth=linewidth)
        axes.add_patch(square)
        text = axes.annotate(name, (left, start + count / 2 - 0.5), (4.0 * thick, 0), textcoords="offset points")
        text.set(va="center", size=size, annotation_clip=False)
        if thick:
            ends = start - 0.2, start + count - 0.8
            axes.add_artist(Line2D((left, left), ends, color=color, linewidth=linewidth, clip_on=False))
        start += count


def tree_order(counts: np.ndarray, levels: Sequence[list[str]]) -> np.ndarray:
    """Order classes by a tree: what belongs together stands together, and beside it what it is confused with.

    Args:
        counts: Number of samples of each true (row) and predicted (column) class. Shape (C, C).
        levels: For each level, nearest first, the name of the group of each class; may be empty.

    Returns:
        The classes in order; those that share the nearest level keep theirs. Shape (C,).
    """
    if not levels:
        return np.arange(len(counts))
    names, of = np.unique(levels[-1], return_inverse=True)
    member = np.eye(len(names), dtype=counts.dtype)[of]
    parts = [np.flatnonzero(of == name) for name in confusion_order(member.T @ counts @ member)]
    nearer = [[[level[index] for index in part] for level in levels[:-1]] for part in parts]
    orders = [tree_order(counts[np.ix_(part, part)], its) for part, its in zip(parts, nearer, strict=True)]
    return np.concatenate([part[order] for part, order in zip(parts, orders, strict=True)])


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

    if len(counts) == 1:
        return np.zeros(1, int)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distances = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distances, 0)
    return leaves_list(linkage(squareform(distances), "average", optimal_ordering=True))
