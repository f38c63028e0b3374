"""The plot of README.md: what a generator makes, and how fast students learn from it."""

import shutil
from pathlib import Path
from statistics import mean

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from lightning_tasks.compare.cards import Card
from lightning_tasks.runs.folders import newest_version
from lightning_tasks.runs.plot_style import BLACK, BLUE, VERMILLION, styled
from lightning_tasks.sweeps.plots import plot_over_time
from lightning_tasks.sweeps.report import timed_alike

SWEEP = "dfad_cifar10"
METHODS = {f"{SWEEP}/47-,DFAD+": ("DFAD+", VERMILLION, "-"), f"{SWEEP}/47-,DFAD": ("DFAD", BLUE, "--")}
CLASSES = "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"


def synthetic_images(logs: Path, plots: Path) -> Path:
    """Give the synthetic images of DFAD+ that are kept in git, those of the newest run of it if the logs have one."""
    kept = plots / f"{SWEEP}_synthetic_images.png"
    of_run = Path("figures", "synthetic_images.png")
    run = newest_version(logs / next(iter(METHODS)), lambda folder: (folder / of_run).is_file())
    if run is not None:
        shutil.copyfile(run / of_run, kept)
    return kept


@styled
def draw(cards: list[Card], images: Path) -> Figure:
    """Draw synthetic images of CIFAR-10's classes, and beside them the students' accuracy over minutes.

    Args:
        cards: Cards of all runs; those of METHODS are drawn, a faint line a seed.
        images: Tiles without gaps, a row for each class, see GeneratedPlot.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    tiles = imread(images)
    side = tiles.shape[0] // len(CLASSES)
    left.imshow(tiles)
    left.set_yticks((np.arange(len(CLASSES)) + 0.5) * side, CLASSES)
    left.set_xticks([])
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    left.set_title("Synthetic images by predicted class")
    for experiment, (name, colour, dash) in METHODS.items():
        seeds = timed_alike([card for card in cards if card["experiment"] == experiment])
        runs = [card["over_time"] for card in seeds]
        plot_over_time(right, runs, "val/acc", name, color=colour, linestyle=dash)
    taught = [card["metrics"]["test/acc_teacher"] for card in cards if card["experiment"] in METHODS]
    right.axhline(100 * mean(taught), color=BLACK, linestyle=":", linewidth=1, label="teacher, on test images")
    right.set(
        title="CIFAR-10 student, 47 % of the teacher's size",
        xlabel="minutes on one CPU core",
        ylabel="accuracy on validation images (%)",
        xlim=(0, None),
        ylim=(0, 100),
    )
    right.grid()
    right.spines[["top", "right"]].set_visible(False)
    right.legend(loc="lower right", frameon=False)
    return figure
