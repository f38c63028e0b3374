"""Tasks: LightningModules that one command trains, tests and draws. They know no datamodule.

A family of tasks is a folder. Names are imported when they are first used, so that `--help` and Ctrl-C do not wait for
PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_tasks.base import BaseTask
    from lightning_tasks.by_hand.task import ByHandTask
    from lightning_tasks.classification import ClassificationTask
    from lightning_tasks.data_free import (
        ActivationLoss,
        Augmentation,
        BatchNormStatisticsLoss,
        ClassBalanceLoss,
        DFADTask,
        DiversityLoss,
        FeatureLoss,
        ImageGenerator,
        MemoryBank,
        MetaGenerator,
        OneHotLoss,
    )
    from lightning_tasks.distillation import DistillationTask, KDTask
    from lightning_tasks.image_task import ImageTask
    from lightning_tasks.losses import DecoupledLoss, HintonLoss
    from lightning_tasks.multi_task import MultiTask
    from lightning_tasks.networks import CNN, MLP, LeNet5, NetworkFile, ResNet, StridedCNN, WideResNet
    from lightning_tasks.sketch import MixtureHead, RegressionHead, SketchNetwork, SketchTask

FAMILIES = ("by_hand.task", "classification", "multi_task", "sketch", "distillation", "data_free")
MODULES = ("base", "image_task", "networks", "losses", "callbacks", *FAMILIES)

__all__ = [
    "CNN",
    "MLP",
    "ActivationLoss",
    "Augmentation",
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
    "ImageGenerator",
    "ImageTask",
    "KDTask",
    "LeNet5",
    "MemoryBank",
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
    "WideResNet",
]


def __getattr__(name: str) -> Any:
    """Import what has a short name."""
    if name in __all__:
        for room in MODULES:
            if name in vars(module := import_module(f"{__name__}.{room}")):
                return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
