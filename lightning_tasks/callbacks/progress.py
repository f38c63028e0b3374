"""A progress bar whose metrics fit beside it in 80 columns."""

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn


class CompactProgressBar(RichProgressBar):
    """Epoch, bar, batches, time left, then the losses and the last validation accuracy, on one line.

    Lightning's own bar leaves so little room that each metric is broken over several lines.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=25)  # at each batch, drawing costs more than a small network's step

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Name the columns before the metrics."""
        return [
            TextColumn("[progress.description]{task.description}"),
            BarColumn(bar_width=4),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
        ]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict:
        """Shorten the names: the player for its loss, and no version number."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("loss_"): value for name, value in metrics.items() if name != "v_num"}
