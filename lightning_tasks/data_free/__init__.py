"""A student learns from a frozen teacher on synthetic images, without data."""

from lightning_tasks.data_free.augmentation import Views
from lightning_tasks.data_free.dfad import DFADTask
from lightning_tasks.data_free.feature_loss import FeatureLoss
from lightning_tasks.data_free.generator import ImageGenerator
from lightning_tasks.data_free.generator_losses import (
    ActivationLoss,
    BatchNormStatisticsLoss,
    ClassBalanceLoss,
    DiversityLoss,
    OneHotLoss,
)
from lightning_tasks.data_free.memory_bank import ImageBank
from lightning_tasks.data_free.meta_generator import MetaGenerator
from lightning_tasks.data_free.plots import GeneratedPicture

__all__ = [
    "ActivationLoss",
    "BatchNormStatisticsLoss",
    "ClassBalanceLoss",
    "DFADTask",
    "DiversityLoss",
    "FeatureLoss",
    "GeneratedPicture",
    "ImageBank",
    "ImageGenerator",
    "MetaGenerator",
    "OneHotLoss",
    "Views",
]
