"""Loss functions that two families use: no Lightning, no data."""

from lightning_tasks.losses.cross_entropy import CrossEntropyLoss
from lightning_tasks.losses.soft_targets import DecoupledLoss, HintonLoss, SoftTargetLoss

__all__ = ["CrossEntropyLoss", "DecoupledLoss", "HintonLoss", "SoftTargetLoss"]
