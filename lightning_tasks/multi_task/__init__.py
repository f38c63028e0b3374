"""Class, superclass and group of one image, with a loss that weighs mistakes by their severity."""

from lightning_tasks.multi_task.error_kinds import ErrorKindsPicture
from lightning_tasks.multi_task.mistakes import MistakesBySeverityPicture
from lightning_tasks.multi_task.severity import ExpectedSeverityLoss, SeverityLoss, SeverityScaledLoss
from lightning_tasks.multi_task.task import MultiTask
from lightning_tasks.multi_task.uncertainty import UncertaintyWeighting

__all__ = [
    "ErrorKindsPicture",
    "ExpectedSeverityLoss",
    "MistakesBySeverityPicture",
    "MultiTask",
    "SeverityLoss",
    "SeverityScaledLoss",
    "UncertaintyWeighting",
]
