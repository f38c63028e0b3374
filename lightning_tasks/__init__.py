"""Tasks: LightningModules that one command trains, tests and draws. They know no datamodule."""

from lightning_tasks.base import BaseTask
from lightning_tasks.by_hand_task import ByHandTask
from lightning_tasks.classification import ClassificationTask
from lightning_tasks.dfad import DFADTask
from lightning_tasks.networks import MLP, ResNet, WideResNet

__all__ = ["MLP", "BaseTask", "ByHandTask", "ClassificationTask", "DFADTask", "ResNet", "WideResNet"]
