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
from lightning_tasks.networks.batch_counts import BatchCounts
from lightning_tasks.networks.cnn import CNN
from lightning_tasks.networks.features import WithFeatures, are_parts, recorded, require_layers
from lightning_tasks.networks.file import NetworkFile
from lightning_tasks.networks.folding import fold_batchnorm
from lightning_tasks.networks.generator import ImageGenerator
from lightning_tasks.networks.layers import Initialisation, initialise
from lightning_tasks.networks.lenet import LeNet5
from lightning_tasks.networks.mlp import MLP
from lightning_tasks.networks.own import FACTS, Outputs, OwnNetwork, build_network, build_teacher
from lightning_tasks.networks.resnet import ResNet
from lightning_tasks.networks.selection import evenly, select_weights
from lightning_tasks.networks.sketch import SketchNetwork, SketchNetworkCallable
from lightning_tasks.networks.strided_cnn import StridedCNN
from lightning_tasks.networks.stroke_heads import MixtureHead, RegressionHead
from lightning_tasks.networks.undisturbed import undisturbed
from lightning_tasks.networks.wide_resnet import WideResNet

__all__ = [
    "CNN",
    "FACTS",
    "MLP",
    "BatchCounts",
    "Generator",
    "GeneratorCallable",
    "ImageGenerator",
    "ImageNetwork",
    "ImageShape",
    "Initialisation",
    "LeNet5",
    "MixtureHead",
    "NetworkCallable",
    "NetworkFile",
    "Outputs",
    "OwnNetwork",
    "RegressionHead",
    "ResNet",
    "SketchNetwork",
    "SketchNetworkCallable",
    "StridedCNN",
    "WideResNet",
    "WithFeatures",
    "are_parts",
    "build_network",
    "build_teacher",
    "count_multiply_adds",
    "count_parameters",
    "cut_into_layers",
    "evenly",
    "fold_batchnorm",
    "initialise",
    "recorded",
    "require_layers",
    "select_weights",
    "undisturbed",
]
