"""A student learns from a frozen teacher, on data."""

from lightning_tasks.distillation.base import DistillationTask
from lightning_tasks.distillation.kd import KDTask
from lightning_tasks.distillation.plots import AgreementPicture, ChangesPicture

__all__ = ["AgreementPicture", "ChangesPicture", "DistillationTask", "KDTask"]
