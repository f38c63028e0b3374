"""Loss functions: no Lightning, no data."""

from lightning_tasks.losses.cross_entropy import CrossEntropyLoss
from lightning_tasks.losses.distillation import AdversarialL1Loss, ClassBalanceLoss, GeneratorLoss, Invented
from lightning_tasks.losses.latent import LatentLoss, divergence

__all__ = [
    "AdversarialL1Loss",
    "ClassBalanceLoss",
    "CrossEntropyLoss",
    "GeneratorLoss",
    "Invented",
    "LatentLoss",
    "divergence",
]
