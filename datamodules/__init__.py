"""Datamodules: data sets as tensors, split, augmented and normalised. They know no task."""

from datamodules.arrays import ImageArraysDataModule
from datamodules.augment import BatchCutMix, BatchMixUp, BatchRandomCrop, BatchRandomFlip, InGroups, ProgressiveResize
from datamodules.base import BaseDataModule
from datamodules.cifar import CIFAR10DataModule, CIFAR100DataModule
from datamodules.digits import DigitsDataModule
from datamodules.folder import ImageFolderDataModule
from datamodules.images import ImageDataModule
from datamodules.mnist import FashionMNISTDataModule, MNISTDataModule
from datamodules.no_images import NoImages
from datamodules.quickdraw import QuickDrawDataModule
from datamodules.quickdraw_images import QuickDrawImagesDataModule
from datamodules.tiny_imagenet import TinyImageNetDataModule

__all__ = [
    "BaseDataModule",
    "BatchCutMix",
    "BatchMixUp",
    "BatchRandomCrop",
    "BatchRandomFlip",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageArraysDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "InGroups",
    "MNISTDataModule",
    "NoImages",
    "ProgressiveResize",
    "QuickDrawDataModule",
    "QuickDrawImagesDataModule",
    "TinyImageNetDataModule",
]
