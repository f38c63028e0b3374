"""Loss functions: no Lightning, no data."""

from lightning_tasks.losses.cross_entropy import CrossEntropyLoss
from lightning_tasks.losses.distillation import AdversarialL1Loss
from lightning_tasks.losses.features import FeatureLoss, Hint
from lightning_tasks.losses.generator import (
    ActivationLoss,
    BatchNormStatisticsLoss,
    ClassBalanceLoss,
    DiversityLoss,
    GeneratorLoss,
    Invented,
    OneHotLoss,
    Statistics,
    same_class_distance,
)
from lightning_tasks.losses.latent import LatentLoss, divergence
from lightning_tasks.losses.severity import (
    ExpectedSeverityLoss,
    SeverityLoss,
    SeverityScaledLoss,
    require_costs,
    severity_matrix,
)
from lightning_tasks.losses.soft_targets import DecoupledLoss, HintonLoss, SoftTargetLoss
from lightning_tasks.losses.uncertainty import UncertaintyWeighting

__all__ = [
    "ActivationLoss",
    "AdversarialL1Loss",
    "BatchNormStatisticsLoss",
    "ClassBalanceLoss",
    "CrossEntropyLoss",
    "DecoupledLoss",
    "DiversityLoss",
    "ExpectedSeverityLoss",
    "FeatureLoss",
    "GeneratorLoss",
    "Hint",
    "HintonLoss",
    "Invented",
    "LatentLoss",
    "OneHotLoss",
    "SeverityLoss",
    "SeverityScaledLoss",
    "SoftTargetLoss",
    "Statistics",
    "UncertaintyWeighting",
    "divergence",
    "require_costs",
    "same_class_distance",
    "severity_matrix",
]
