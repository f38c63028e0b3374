"""A student learns from a frozen teacher, on data."""

from lightning_tasks.distillation.base import DistillationTask
from lightning_tasks.distillation.kd import KDTask
from lightning_tasks.distillation.plots import AgreementPlot, ChangesPlot

__all__ = ["AgreementPlot", "ChangesPlot", "DistillationTask", "KDTask"]
