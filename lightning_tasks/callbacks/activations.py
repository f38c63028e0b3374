"""What the layers of a network see."""

from typing import TYPE_CHECKING, cast

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_tasks.callbacks.pictures import Picture, save_figure

if TYPE_CHECKING:
    from lightning_tasks import ImageTask


class ActivationPicture(Picture):
    """Draws the output of each channel of named layers for a few test images, as `figures/activations_<epoch>.png`.

    A row an image, the first test image of each class; on the left the image itself. Black is the smallest and white
    the largest value of a channel among the drawn images, so that rows can be compared.

    Args:
        layers: Names of layers that give maps (channels, height, width): keys of the task's `named_modules`, or
            "conv2d_1", "relu_2" ... of a network by hand.
        every_n_epochs: Draw after each n-th epoch, and after the last.
        num_images: How many classes are shown.
        num_channels: How many channels of each layer are shown at most.
    """

    def __init__(self, layers: list[str], every_n_epochs: int = 1, num_images: int = 5, num_channels: int = 8) -> None:
        if min(every_n_epochs, num_images, num_channels) < 1:
            raise ValueError(
                "every_n_epochs, num_images and num_channels must be at least 1, got"
                f" {every_n_epochs}, {num_images}, {num_channels}"
            )
        self.layers = layers
        self.every_n_epochs = every_n_epochs
        self.num_images = num_images
        self.num_channels = num_channels

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the images, and refuse names that no layer has before a long run."""
        x, y = trainer.datamodule.test_samples(1000)  # type: ignore[attr-defined]
        labels = y.tolist()
        first = [labels.index(label) for label in sorted(set(labels))][: self.num_images]
        self.images = x[first]
        self._maps(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if it is time."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, epoch)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last epoch, whichever it was."""
        if trainer.current_epoch % self.every_n_epochs:
            self._draw(trainer, pl_module, trainer.current_epoch)

    def _draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        figure = draw_activations(self.images, self._maps(pl_module), f"after epoch {epoch}")
        save_figure(trainer, figure, "activations", epoch)

    def _maps(self, pl_module: LightningModule) -> dict[str, Tensor]:
        outputs = cast("ImageTask", pl_module).layer_outputs(self.images.to(pl_module.device), self.layers)
        for name, output in outputs.items():
            if output.ndim != 4:
                shape = tuple(output.shape[1:])
                raise ValueError(f"activation maps: {name} gives no channels of maps, but samples of shape {shape}")
        return {name: output[:, : self.num_channels].float().cpu() for name, output in outputs.items()}


def draw_activations(images: Tensor, maps: dict[str, Tensor], title: str) -> Figure:
    """Draw images in the first column and a column for each channel of each layer.

    Args:
        images: Shape (N, C, H, W); drawn from their smallest to their largest value.
        maps: Output of each layer. Shapes (N, channels, height, width).
        title: Above all.
    """
    low, high = images.min(), images.max()
    columns = [("input", ((images - low) / (high - low + 1e-12)).permute(0, 2, 3, 1).squeeze(-1).cpu().numpy())]
    for name, output in maps.items():
        columns += [(f"{name}, {channel}", output[:, channel].numpy()) for channel in range(output.shape[1])]
    rows = len(images)
    figure = Figure(figsize=(1 + 1.15 * len(columns), 0.7 + 1.15 * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for column, (name, pictures) in enumerate(columns):
        limits = (0.0, 1.0) if column == 0 else (float(np.min(pictures)), float(np.max(pictures)) + 1e-12)
        grid[0, column].set_title(name, fontsize=8)
        for row in range(rows):
            grid[row, column].imshow(pictures[row], cmap="gray", vmin=limits[0], vmax=limits[1])
            grid[row, column].axis("off")
    return figure
