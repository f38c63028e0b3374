"""Callbacks: pictures and files of a run. They use public attributes of tasks only."""

from lightning_tasks.callbacks.confusion import ConfusionPicture
from lightning_tasks.callbacks.curves import CurvesPicture
from lightning_tasks.callbacks.generated import GeneratedPicture
from lightning_tasks.callbacks.predictions import PredictionWriter
from lightning_tasks.callbacks.progress import CompactProgressBar
from lightning_tasks.callbacks.run_card import RunCard

__all__ = ["CompactProgressBar", "ConfusionPicture", "CurvesPicture", "GeneratedPicture", "PredictionWriter", "RunCard"]
