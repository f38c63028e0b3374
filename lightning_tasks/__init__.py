"""Tasks: LightningModules that one command trains, tests and draws. They know no datamodule."""

from lightning_tasks.base import BaseTask
from lightning_tasks.by_hand_task import ByHandTask
from lightning_tasks.classification import ClassificationTask
from lightning_tasks.dfad import DFADTask
from lightning_tasks.distillation import DistillationTask
from lightning_tasks.image_bank import ImageBank
from lightning_tasks.image_task import ImageTask
from lightning_tasks.kd import KDTask
from lightning_tasks.losses import (
    ActivationLoss,
    BatchNormStatisticsLoss,
    ClassBalanceLoss,
    DecoupledLoss,
    DiversityLoss,
    FeatureLoss,
    HintonLoss,
    OneHotLoss,
)
from lightning_tasks.meta_generator import MetaGenerator
from lightning_tasks.multi_task import MultiTask
from lightning_tasks.networks import (
    CNN,
    MLP,
    ImageGenerator,
    LeNet5,
    MixtureHead,
    NetworkFile,
    RegressionHead,
    ResNet,
    SketchNetwork,
    StridedCNN,
    WideResNet,
)
from lightning_tasks.sketch import SketchTask
from lightning_tasks.views import Views

__all__ = [
    "CNN",
    "MLP",
    "ActivationLoss",
    "BaseTask",
    "BatchNormStatisticsLoss",
    "ByHandTask",
    "ClassBalanceLoss",
    "ClassificationTask",
    "DFADTask",
    "DecoupledLoss",
    "DistillationTask",
    "DiversityLoss",
    "FeatureLoss",
    "HintonLoss",
    "ImageBank",
    "ImageGenerator",
    "ImageTask",
    "KDTask",
    "LeNet5",
    "MetaGenerator",
    "MixtureHead",
    "MultiTask",
    "NetworkFile",
    "OneHotLoss",
    "RegressionHead",
    "ResNet",
    "SketchNetwork",
    "SketchTask",
    "StridedCNN",
    "Views",
    "WideResNet",
]
