"""What the generator of a data-free distillation makes: synthetic images."""

import io
from typing import cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torchvision.utils import save_image

from lightning_tasks.callbacks.plots import PeriodicPlot, add_axes, class_names, save_figure, subject
from lightning_tasks.data_free.base import DataFreeTask
from lightning_tasks.runs.atomic_writes import write_atomic
from lightning_tasks.runs.folders import run_folder
from lightning_tasks.runs.plot_style import styled

ROWS = 25  # of one block, at most
COLUMNS = 8  # of images alone


class GeneratedPlot(PeriodicPlot):
    """Draws synthetic images, a row for each class that the teacher sees, and how often it saw each in the epoch.

    The noise is the same each time, so the plots can be laid side by side. One PNG a time, as
    `figures/generated_<epoch>.png`; the images alone, pixel for pixel, as `figures/synthetic_images.png`. Works with
    tasks that have `sample` and `fake_class_counts`.

    Args:
        every_n_epochs: Draw after each n-th epoch, and after the last.
        num_images: How many images are made; the first of each class are shown.
    """

    needs = ("sample", "fake_class_counts")

    def __init__(self, every_n_epochs: int = 10, num_images: int = 512) -> None:
        super().__init__(every_n_epochs)
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.num_images = num_images

    def draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Draw what the generator makes of the noise now."""
        task = cast(DataFreeTask, pl_module)
        images, probabilities = task.sample(self.num_images)
        names = class_names(trainer)
        title = f"{subject(trainer)} after epoch {epoch}: synthetic images by predicted class\n"
        title += f"the first of {len(images)}, predicted by the teacher"
        images, probabilities = _seen(images.float().cpu()), probabilities.cpu()
        figure = draw_generated(images, probabilities, task.fake_class_counts.cpu(), names, title)
        save_figure(trainer, figure, "images/generated", epoch)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            seen = probabilities.argmax(dim=1)
            rows = [images[seen == label] for label in range(len(names))]
            content = io.BytesIO()
            save_image(tiles(rows, COLUMNS), content, format="png")
            write_atomic(run_folder(trainer) / "figures" / "synthetic_images.png", content.getbuffer())


@styled
def draw_generated(images: Tensor, probabilities: Tensor, counts: Tensor, names: list[str], title: str) -> Figure:
    """Draw a row of images for each class; beside it its share in an epoch's images and the teacher's confidence.

    Args:
        images: Shape (N, C, H, W), in [0, 1], with C 1 or 3.
        probabilities: Class probabilities of the teacher for each image. Shape (N, num_classes).
        counts: Number of images of each class in an epoch. Shape (num_classes,).
        names: Names of the classes.
        title: Above all.
    """
    num_blocks = -(-len(names) // ROWS)
    rows = -(-len(names) // num_blocks)
    columns, side, size = (8, 0.45, 10.0) if num_blocks == 1 else (4, 0.36, 8.0)
    shares = (counts / counts.sum().clamp(min=1)).tolist()
    confidence, seen = probabilities.max(dim=1)
    sure = [f"{confidence[seen == label].mean():.0%}" if (seen == label).any() else "" for label in range(len(names))]
    # All in inches: of a block the names, the images and the bars; the title above.
    named = 0.2 + max(map(len, names)) * size / 115
    shown, high = columns * side * (images.shape[3] + 2) / (images.shape[2] + 2), rows * side
    block_width, height = named + shown + 1.6, high + 1.45
    figure = Figure(figsize=(num_blocks * block_width, height))
    figure.suptitle(title, size=11)
    for block in range(num_blocks):
        labels = range(block * rows, min((block + 1) * rows, len(names)))
        left = block * block_width + named
        axes = add_axes(figure, left, 0.85, shown, high)
        _draw_rows(axes, [images[seen == label][:columns] for label in labels], rows, columns)
        axes.set_yticks(range(len(labels)), [names[label] for label in labels], size=size)
        bars = add_axes(figure, left + shown + 0.1, 0.85, 1.2, high, sharey=axes)
        _draw_shares(bars, [shares[label] for label in labels], max(shares), 1 / len(names))
        for row, label in enumerate(labels):
            bars.text(0.98, row, sure[label], va="center", ha="right", size=7, transform=bars.get_yaxis_transform())
    return figure


def _draw_rows(axes: Axes, tiles: list[Tensor], rows: int, columns: int) -> None:
    """Draw the images (n, C, H, W) of each class, n at most `columns`, in a row; a class has height 1."""
    channels, height, width = tiles[0].shape[1:]
    grid = np.ones((rows, height + 2, columns, width + 2, channels))
    for row, images in enumerate(tiles):
        for column, image in enumerate(images):
            grid[row, 1:-1, column, 1:-1] = image.permute(1, 2, 0).numpy()
        if not len(images):
            axes.text(0.1, row, "none", va="center", color="grey", size=8)
    sheet = grid.reshape(rows * (height + 2), columns * (width + 2), channels)
    sheet = sheet.squeeze(-1) if channels == 1 else sheet
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, extent=(0.0, columns, rows - 0.5, -0.5), aspect="auto")
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_shares(bars: Axes, shares: list[float], greatest: float, equal: float) -> None:
    """Draw the share of each row's class as a bar beside it, and a line where all would be if they were equal."""
    bars.barh(range(len(shares)), shares, height=0.7)
    bars.axvline(equal, color="black", linewidth=0.8, linestyle="--")
    bars.set_xlim(0, 1.4 * max(greatest, equal))  # with room for the confidence
    bars.set_xticks([equal], [f"{100 * equal:.3g} %"], size=8)
    bars.set_xlabel("share of the epoch\n(line: uniform);\nnumbers: confidence", size=8)
    bars.tick_params(left=False, labelleft=False)
    bars.spines[["top", "right"]].set_visible(False)


def _seen(images: Tensor) -> Tensor:
    """Give images (N, C, H, W) as they can be shown: of other than one or three channels the mean."""
    return images if images.shape[1] in (1, 3) else images.mean(dim=1, keepdim=True)


def tiles(rows: list[Tensor], columns: int) -> Tensor:
    """Put images (n, C, H, W) of each row side by side without gaps, white where a row has less than `columns`."""
    channels, height, width = rows[0].shape[1:]
    grid = torch.ones(len(rows), columns, channels, height, width)
    for place, images in zip(grid, rows, strict=True):
        place[: len(images)] = images[:columns]
    return grid.permute(2, 0, 3, 1, 4).reshape(channels, len(rows) * height, columns * width)
