"""Plain networks: no Lightning, no data."""

from lightning_tasks.networks.base import (
    Generator,
    GeneratorCallable,
    ImageNetwork,
    ImageShape,
    NetworkCallable,
    count_multiply_adds,
    count_parameters,
    cut_into_layers,
)
from lightning_tasks.networks.cnn import CNN
from lightning_tasks.networks.eval_mode import eval_mode
from lightning_tasks.networks.external import FACTORY_ARGS, ExternalNetwork, Outputs, build_network, build_teacher
from lightning_tasks.networks.features import WithFeatures, are_parts, recorded, require_layers
from lightning_tasks.networks.file import NetworkFile
from lightning_tasks.networks.folding import fold_batchnorm
from lightning_tasks.networks.layers import Initialisation, initialise
from lightning_tasks.networks.lenet import LeNet5
from lightning_tasks.networks.mlp import MLP
from lightning_tasks.networks.reconstruction import reconstruct, require_narrower
from lightning_tasks.networks.resnet import ResNet
from lightning_tasks.networks.strided_cnn import StridedCNN
from lightning_tasks.networks.weight_selection import evenly, select_weights
from lightning_tasks.networks.wide_resnet import WideResNet

__all__ = [
    "CNN",
    "FACTORY_ARGS",
    "MLP",
    "ExternalNetwork",
    "Generator",
    "GeneratorCallable",
    "ImageNetwork",
    "ImageShape",
    "Initialisation",
    "LeNet5",
    "NetworkCallable",
    "NetworkFile",
    "Outputs",
    "ResNet",
    "StridedCNN",
    "WideResNet",
    "WithFeatures",
    "are_parts",
    "build_network",
    "build_teacher",
    "count_multiply_adds",
    "count_parameters",
    "cut_into_layers",
    "eval_mode",
    "evenly",
    "fold_batchnorm",
    "initialise",
    "reconstruct",
    "recorded",
    "require_layers",
    "require_narrower",
    "select_weights",
]
