"""What the generator of a data-free distillation invents."""

import math
from typing import TYPE_CHECKING, cast

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_tasks.callbacks.pictures import Picture, save_figure

if TYPE_CHECKING:
    from lightning_tasks import DFADTask


class GeneratedPicture(Picture):
    """Draws invented images and the classes that the teacher sees in an epoch's images.

    The noise is the same each time, so the pictures can be laid side by side. One PNG a time, as
    `figures/generated_<epoch>.png`. Works with tasks that have `sample` and `fake_class_counts`.

    Args:
        every_n_epochs: Draw after each n-th epoch, and after the last.
        num_images: How many images.
    """

    def __init__(self, every_n_epochs: int = 10, num_images: int = 64) -> None:
        if every_n_epochs < 1 or num_images < 1:
            raise ValueError(f"every_n_epochs and num_images must be at least 1, got {every_n_epochs}, {num_images}")
        self.every_n_epochs = every_n_epochs
        self.num_images = num_images

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if it is time."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs and epoch != trainer.max_epochs:
            return
        task = cast("DFADTask", pl_module)
        images = task.sample(self.num_images).float().cpu()
        figure = draw_generated(images, task.fake_class_counts.cpu(), f"generated after epoch {epoch}")
        save_figure(trainer, figure, "generated", epoch)


def draw_generated(images: Tensor, counts: Tensor, title: str) -> Figure:
    """Draw a square grid of images beside a histogram of classes.

    Args:
        images: Shape (N, C, H, W), in [0, 1], with C 1 or 3.
        counts: Number of images of each class in an epoch. Shape (num_classes,).
        title: Above the grid.
    """
    side = math.isqrt(len(images) - 1) + 1
    missing = side * side - len(images)
    tiles = torch.cat([images, images.new_ones(missing, *images.shape[1:])])
    tiles = torch.nn.functional.pad(tiles, (1, 1, 1, 1), value=1.0)
    channels, height, width = tiles.shape[1:]
    grid = tiles.view(side, side, channels, height, width).permute(0, 3, 1, 4, 2)
    grid = grid.reshape(side * height, side * width, channels)
    figure = Figure(figsize=(11, 6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    left.imshow(grid.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    left.set_title(title)
    left.axis("off")
    shares = counts / counts.sum().clamp(min=1)
    right.bar(range(len(counts)), shares.tolist(), width=0.9)
    right.axhline(1 / len(counts), color="black", linewidth=0.8, linestyle="--", label="all classes equally frequent")
    right.xaxis.set_major_locator(MaxNLocator(nbins=20, integer=True))
    right.set(xlabel="class, as the teacher sees it", ylabel="share of the epoch's images")
    right.legend(fontsize=8)
    return figure
