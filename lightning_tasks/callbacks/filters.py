"""What the first layer looks for."""

from typing import cast

from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from lightning_tasks.base import BaseTask
from lightning_tasks.callbacks.plots import Plot, save_figure
from lightning_tasks.networks import ImageNetwork, count_parameters
from lightning_tasks.runs.plot_style import styled

MOST = 64


class FiltersPlot(Plot):
    """Draws the weights of a network's first layer as images, at the end of training: `figures/filters_<network>.png`.

    The kernels of a convolution, or what each unit of a linear layer sees, the first 64 of them. Each is scaled to its
    own greatest absolute value; grey is zero.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw those of each network that takes images."""
        for name, network in cast(BaseTask, pl_module).networks.items():
            first = next((each for each in network.modules() if isinstance(each, (nn.Conv2d, nn.Linear))), None)
            learns = count_parameters(network, trained_only=True) > 0  # as a teacher does not
            if first is None or not learns or not isinstance(network, ImageNetwork):  # nor takes a generator images
                continue
            weights = first.weight.detach().float().cpu()[:MOST]
            if isinstance(first, nn.Linear):
                weights = weights.view(-1, *network.image_shape)
            data = cast(BaseTask, pl_module).data_spec["dataset"]
            title = f"{data} {name}: weights of the first layer, {len(weights)} of {len(first.weight)} filters"
            figure = draw_filters(weights, title)
            save_figure(trainer, figure, f"layers/filters_{name}")


@styled
def draw_filters(weights: Tensor, title: str) -> Figure:
    """Draw filters side by side; those of other than 1 or 3 channels by their mean over channels.

    Args:
        weights: Shape (N, C, H, W).
        title: Above all.
    """
    if weights.shape[1] not in (1, 3):
        weights = weights.mean(dim=1, keepdim=True)
    shown = 0.5 + 0.5 * weights / weights.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(max(0.7 * columns, 4), 0.7 * rows + 0.5), layout="constrained")
    figure.suptitle(title, size=11)
    for axes, image in zip(figure.subplots(rows, columns, squeeze=False).flat, shown, strict=False):
        axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure
