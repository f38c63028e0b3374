"""Class, superclass and group of one image, with a loss that weighs mistakes by their severity."""

from lightning_tasks.multi_task.error_kinds import ErrorKindsPlot
from lightning_tasks.multi_task.mistakes import MistakesBySeverityPlot
from lightning_tasks.multi_task.severity import (
    ExpectedSeverityLoss,
    HierarchicalLoss,
    SeverityLoss,
    SeverityScaledLoss,
    SoftLabelLoss,
)
from lightning_tasks.multi_task.task import MultiTask
from lightning_tasks.multi_task.uncertainty import UncertaintyWeighting

__all__ = [
    "ErrorKindsPlot",
    "ExpectedSeverityLoss",
    "HierarchicalLoss",
    "MistakesBySeverityPlot",
    "MultiTask",
    "SeverityLoss",
    "SeverityScaledLoss",
    "SoftLabelLoss",
    "UncertaintyWeighting",
]
