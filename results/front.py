"""The picture of README.md: what a generator makes, and how fast students learn from it."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from results.cards import Card
from sweeps.pictures import plot_over_time

SWEEP = "dfad_cifar10"
METHODS = {f"{SWEEP}/47-,plus": ("DFAD+", "#0072B2"), f"{SWEEP}/47-,plain": ("DFAD", "#D55E00")}
IMAGES = f"{SWEEP}_synthetic.png"  # a row of tiles for each class, as GeneratedPicture leaves it in a run's folder
CLASSES = "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
COLUMNS = 8


def draw(cards: list[Card], images: Path) -> Figure:
    """Draw synthetic images of CIFAR-10's classes, and beside them the students' accuracy over minutes.

    Args:
        cards: Of all runs; those of METHODS are drawn, a faint line a seed.
        images: Tiles without gaps, a row for each class.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    tiles = imread(images)
    side = tiles.shape[0] // len(CLASSES)
    left.imshow(tiles[:, : COLUMNS * side])
    left.set_yticks((np.arange(len(CLASSES)) + 0.5) * side, CLASSES)
    left.set_xticks([])
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    left.set_title("Synthetic images by the teacher's class")
    for experiment, (name, colour) in METHODS.items():
        runs = [card["over_time"] for card in cards if card["experiment"] == experiment]
        plot_over_time(right, runs, "val/acc", name, color=colour)
    right.set(
        title="CIFAR-10 student that never saw an image",
        xlabel="minutes on one CPU core",
        ylabel="accuracy on validation images (%)",
        xlim=(0, None),
        ylim=(0, 100),
    )
    right.grid(alpha=0.3)
    right.spines[["top", "right"]].set_visible(False)
    right.legend(loc="lower right", frameon=False)
    return figure
