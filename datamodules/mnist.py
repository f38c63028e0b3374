"""MNIST and sets in its format."""

from typing import ClassVar

from torchvision import datasets

from datamodules.base import ImageDataModule
from datamodules.tensors import TensorImages


class MNISTDataModule(ImageDataModule):
    """70,000 handwritten digits, 28 x 28 grey, 60,000 of them for training.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition". Mean and standard deviation are
    those of the 60,000 training images, as in PyTorch's MNIST example.
    """

    dataset_name = "MNIST"
    num_classes = 10
    mean = (0.1307,)
    std = (0.3081,)
    image_shape = (1, 28, 28)
    dataset: ClassVar[type[datasets.MNIST]] = datasets.MNIST

    def download(self) -> None:
        """Fetch the four files from the official mirrors unless they are there, and read them once."""
        for train in (True, False):
            self.dataset(str(self.root), train=train, download=True)

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Read both official parts and the names of the classes."""
        train, test = (self.dataset(str(self.root), train=train) for train in (True, False))
        self.class_names = list(self.dataset.classes)
        return TensorImages(train.data[:, None], train.targets), TensorImages(test.data[:, None], test.targets)


class FashionMNISTDataModule(MNISTDataModule):
    """70,000 pictures of clothes in MNIST's format (Xiao et al. 2017, https://arxiv.org/abs/1708.07747).

    Mean and standard deviation are those of the 60,000 training images.
    """

    dataset_name = "FashionMNIST"
    mean = (0.2860,)
    std = (0.3530,)
    dataset = datasets.FashionMNIST
