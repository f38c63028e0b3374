"""Callbacks of every run."""

from typing import Any

from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console

from lightning_tasks.callbacks.custom_scalars import CustomScalars
from lightning_tasks.callbacks.first_lines import FirstLines
from lightning_tasks.callbacks.graph import NetworkGraph
from lightning_tasks.callbacks.learning_rates import LearningRates
from lightning_tasks.callbacks.plots import Plot
from lightning_tasks.callbacks.predictions import PredictionWriter
from lightning_tasks.callbacks.progress import progress


def standard_callbacks(trainer: Any, subcommand: str | None, plots: bool, task: LightningModule) -> list[Callback]:
    """Put what every run has beside the callbacks that its config names.

    Args:
        trainer: The trainer's options; its callbacks are built.
        subcommand: Subcommand of the command line.
        plots: Whether callbacks that draw are kept.
        task: Task to be run.
    """
    given = trainer.callbacks or []
    callbacks = [*(given if isinstance(given, list) else [given]), NetworkGraph(), CustomScalars()]
    if not plots:
        callbacks = [callback for callback in callbacks if not isinstance(callback, Plot)]
    callbacks.append(FirstLines(trainer.enable_model_summary is not False))
    if trainer.enable_progress_bar is not False and not any(isinstance(each, ProgressBar) for each in callbacks):
        callbacks += progress(Console())
    callbacks.append(LearningRates())
    if subcommand == "predict":
        callbacks.append(getattr(task, "prediction_writer", PredictionWriter)())
    return callbacks
