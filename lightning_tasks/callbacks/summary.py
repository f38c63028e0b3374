"""What is trained, in a table."""

from typing import TYPE_CHECKING, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from lightning_tasks.networks import count_parameters

if TYPE_CHECKING:
    from lightning_tasks import BaseTask


class NetworkSummary(Callback):
    """Prints the networks of the task and how many of their parameters are trained, without losses and metrics."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table."""
        if not trainer.is_global_zero:
            return
        table = Table("network", "class")
        for head in ("parameters", "trained"):
            table.add_column(head, justify="right")
        for name, network in cast("BaseTask", pl_module).networks.items():
            counts = count_parameters(network), count_parameters(network, trained_only=True)
            table.add_row(name, type(network).__name__, *(f"{count:,}" for count in counts))
        Console().print(table)
