"""A student learns from a frozen teacher on synthetic images, without data."""

from lightning_tasks.data_free.augmentation import Augmentation
from lightning_tasks.data_free.base import DataFreeTask
from lightning_tasks.data_free.dfad import DFADTask
from lightning_tasks.data_free.feature_loss import FeatureLoss
from lightning_tasks.data_free.generator import ImageGenerator
from lightning_tasks.data_free.generator_losses import (
    ActivationLoss,
    BatchNormStatisticsLoss,
    ClassBalanceLoss,
    DiversityLoss,
    GeneratorLoss,
    OneHotLoss,
    SyntheticBatch,
)
from lightning_tasks.data_free.memory_bank import MemoryBank
from lightning_tasks.data_free.meta_generator import MetaGenerator
from lightning_tasks.data_free.noise import RandomSource
from lightning_tasks.data_free.objective import GeneratorObjective
from lightning_tasks.data_free.plots import GeneratedPlot
from lightning_tasks.data_free.selection import SelectionPlot
from lightning_tasks.data_free.training import GeneratorTraining, StudentTraining

__all__ = [
    "ActivationLoss",
    "Augmentation",
    "BatchNormStatisticsLoss",
    "ClassBalanceLoss",
    "DFADTask",
    "DataFreeTask",
    "DiversityLoss",
    "FeatureLoss",
    "GeneratedPlot",
    "GeneratorLoss",
    "GeneratorObjective",
    "GeneratorTraining",
    "ImageGenerator",
    "MemoryBank",
    "MetaGenerator",
    "OneHotLoss",
    "RandomSource",
    "SelectionPlot",
    "StudentTraining",
    "SyntheticBatch",
]
