"""TensorBoard's Custom Scalars, laid out."""

import re
from typing import cast

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_tasks.base import BaseTask
from lightning_tasks.callbacks.curves import STAGES, panels
from lightning_tasks.callbacks.plots import Plot


class CustomScalars(Plot):
    """Lays out TensorBoard's Custom Scalars as CurvesPlot does its panels: what a user watches, then diagnostics.

    What the task knows from before training, as its teacher's accuracy, becomes a line there.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lay out what is logged by now."""
        task = cast(BaseTask, pl_module)
        names = {name for name in (*trainer.callback_metrics, *task.constants) if name.startswith(STAGES)}
        kind = type(task).__name__
        charts = {
            category: {
                panel.title or panel.axis: ["Multiline", [f"{re.escape(name)}$" for name in panel.lines]]
                for panel in group
            }
            for category, group in zip((kind, f"{kind}: diagnostics"), panels(names, task), strict=True)
        }
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, value in task.constants.items():
                    logger.experiment.add_scalar(name, value, trainer.current_epoch + 1)
                if not names <= self._names:  # as after the first validation
                    logger.experiment.add_custom_scalars(charts)
        self._names |= names
