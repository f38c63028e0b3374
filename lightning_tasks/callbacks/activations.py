"""What the layers of a network see."""

from typing import cast

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_tasks.callbacks.plots import PeriodicPlot, class_names, save_figure, subject
from lightning_tasks.image_task import ImageTask
from lightning_tasks.runs.plot_style import VERMILLION, styled

SIDE_BY_SIDE = 2  # layers


class ActivationPlot(PeriodicPlot):
    """Draws the output of each channel of named layers for a few test images, as `figures/activations_<epoch>.png`.

    A row an image, the first test image of each class, with its class and the one that the task sees; on the left the
    image itself. Black is the smallest and white the largest value of a channel among the drawn images, so that rows
    can be compared.

    Args:
        layers: Names of layers that give maps (channels, height, width): keys of the task's `named_modules`, or
            "conv2d_1", "relu_2" ... of a network by hand.
        every_n_epochs: Draw after each n-th epoch, and after the last.
        num_images: How many classes are shown.
        num_channels: How many channels of each layer are shown at most.
    """

    def __init__(self, layers: list[str], every_n_epochs: int = 1, num_images: int = 5, num_channels: int = 8) -> None:
        super().__init__(every_n_epochs)
        if min(num_images, num_channels) < 1:
            raise ValueError(f"num_images and num_channels must be at least 1, got {num_images}, {num_channels}")
        self.layers = layers
        self.num_images = num_images
        self.num_channels = num_channels

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the images, and refuse names that no layer has before a long run."""
        x, y = trainer.datamodule.test_samples(1000)  # type: ignore[attr-defined]
        labels = y.tolist()
        first = [labels.index(label) for label in sorted(set(labels))][: self.num_images]
        self.images, self.labels = x[first], [labels[index] for index in first]
        self._maps(pl_module)

    def draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Draw what the layers see now."""
        names = class_names(trainer)
        predicted = cast(ImageTask, pl_module).answers(self.images).tolist()
        answers = [(names[label], names[answer]) for label, answer in zip(self.labels, predicted, strict=True)]
        title = f"{subject(trainer)} after epoch {epoch}: outputs of {', '.join(self.layers)}"
        figure = draw_activations(self.images, answers, self._maps(pl_module), title)
        save_figure(trainer, figure, "layers/activations", epoch)

    def _maps(self, pl_module: LightningModule) -> dict[str, Tensor]:
        outputs = cast(ImageTask, pl_module).layer_outputs(self.images, self.layers)
        for name, output in outputs.items():
            if output.ndim != 4:
                shape = tuple(output.shape[1:])
                raise ValueError(f"activation maps: {name} gives no channels of maps, but samples of shape {shape}")
        return {name: output[:, : self.num_channels].float().cpu() for name, output in outputs.items()}


@styled
def draw_activations(images: Tensor, answers: list[tuple[str, str]], maps: dict[str, Tensor], title: str) -> Figure:
    """Draw images in the first column and a column for each channel; more than two layers stand below each other.

    Args:
        images: Shape (N, C, H, W); drawn from their smallest to their largest value.
        answers: Names of the true and of the predicted class of each image.
        maps: Output of each layer. Shapes (N, channels, height, width).
        title: Above all.
    """
    low, high = images.min(), images.max()
    shown = ((images - low) / (high - low + 1e-12)).permute(0, 2, 3, 1).squeeze(-1)
    layers = [[(name, output)] for name, output in maps.items()]
    bands = layers if len(layers) > SIDE_BY_SIDE else [[each for layer in layers for each in layer]]
    num_columns = 1 + max(sum(output.shape[1] for _, output in band) for band in bands)
    named = max(len(f"predicted {predicted}") for _, predicted in answers) * 9 / 115
    height = 0.6 + len(bands) * (0.4 + 0.7 * len(images))
    figure = Figure(figsize=(named + 0.7 * num_columns, height), layout="constrained")
    figure.suptitle(title, size=11)
    for part, band in zip(figure.subfigures(len(bands), 1, squeeze=False)[:, 0], bands, strict=True):
        grid = part.subplots(len(images), num_columns, squeeze=False)
        columns = [("input", "", shown)]
        for name, output in band:
            channels = enumerate(output.unbind(dim=1))
            columns += [("" if index else name, str(index), channel) for index, channel in channels]
        for column, each in enumerate(columns):
            _draw_column(grid[:, column], *each)
        for axes in grid[:, len(columns) :].flat:
            axes.set_axis_off()
        for axes, (true, predicted) in zip(grid[:, 0], answers, strict=True):
            color = "black" if predicted == true else VERMILLION
            label = axes.set_ylabel(f"true {true}\npredicted {predicted}", size=9, color=color, rotation=0)
            label.set(ha="right", va="center")
    return figure


def _draw_column(column: np.ndarray, name: str, channel: str, maps: Tensor) -> None:
    """Draw what one channel makes of each image, on one scale, with the layer's name above its first channel."""
    least, greatest = maps.min().item(), maps.max().item()
    for axes, image in zip(column, maps, strict=True):
        axes.imshow(image.cpu().numpy(), cmap="gray", vmin=least, vmax=greatest + 1e-12)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    # A layer's name is longer than its first channel is wide, so it stands above all of them.
    column[0].set_title(f"\n{channel}", fontsize=9)
    column[0].set_title(f"{name}\n", fontsize=9, loc="left").set_in_layout(False)
