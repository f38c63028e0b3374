"""What is trained, in tables."""

from typing import cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table
from torch import nn

from lightning_tasks.base import BaseTask
from lightning_tasks.networks import (
    ImageNetwork,
    count_multiply_adds,
    count_parameters,
    cut_into_layers,
    eval_mode,
)

NUMBERS = ("output", "parameters", "trained", "multiply-adds")


class NetworkSummary(Callback):
    """Prints the networks of the task without losses and metrics, and the layers of those that learn from images.

    Shapes and multiply-adds are those of one image. A frozen network has no table: the first lines of a run name it.
    """

    only_watches = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print a table for each network."""
        if not trainer.is_global_zero:
            return
        task = cast(BaseTask, pl_module)
        with eval_mode(task):
            for name, network in task.networks.items():
                if count_parameters(network, trained_only=True):
                    x = torch.zeros(1, *getattr(network, "image_shape", ()), device=task.device).to(task.dtype)
                    Console().print(summary(name, network, x))


def summary(name: str, network: nn.Module, x: torch.Tensor) -> Table:
    """Make a table of a network: a row for each layer if it learns from images, else for each part, and one for all.

    Args:
        name: Name of the network.
        network: Network in evaluation mode.
        x: Zeros of the shape of a batch of one image.
    """
    table = Table("layer", title=f"{name}: {type(network).__name__}", title_justify="left")
    for head in NUMBERS:
        table.add_column(head, justify="right")
    total = 0
    if isinstance(network, ImageNetwork) and count_parameters(network, trained_only=True):
        for layer in cut_into_layers(network):
            count, x = count_multiply_adds(layer, x)
            total += count
            kind = next((type(part).__name__ for part in layer if count_parameters(part)), type(layer[0]).__name__)
            table.add_row(kind, " x ".join(map(str, x.shape[1:])), *_counts(layer), f"{count:,}")
    elif count_parameters(network, trained_only=True):
        for part_name, part in network.named_children():
            if count_parameters(part):
                table.add_row(f"{part_name}: {type(part).__name__}", "", *_counts(part), "")
    if table.row_count:
        table.add_section()
    table.add_row("all", "", *_counts(network), f"{total:,}" if total else "")
    return table


def _counts(module: nn.Module) -> tuple[str, str]:
    return f"{count_parameters(module):,}", f"{count_parameters(module, trained_only=True):,}"
