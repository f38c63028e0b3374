"""The embedded set: handwritten digits that ship with scikit-learn."""

from typing import Any

import torch
from torch.nn import functional as F

from datamodules.images import ImageDataModule, Split
from datamodules.tensors import TensorImages


class DigitsDataModule(ImageDataModule):
    """1,797 real 8 x 8 grey digits of 43 people, part of the scikit-learn package: no download.

    The test split of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998,
    https://archive.ics.uci.edu/dataset/80). It has no official split of its own. For convolutional networks the
    images are enlarged to `image_size` by bilinear interpolation.

    Args:
        image_size: Side of the images in pixels, at least 8.
        split: A stratified split of all samples.
        options: See ImageDataModule.
    """

    dataset_name = "digits"
    num_classes = 10
    # Of all 1,797 images at 16 x 16, in [0, 1]; computed once with this module.
    mean = (0.3053,)
    std = (0.3186,)

    def __init__(self, image_size: int = 16, split: Split = "80:20", **options: Any) -> None:
        if image_size < 8:
            raise ValueError(f"image_size must be at least 8, the size of the originals, got {image_size}")
        self.image_shape = self._enlarged = (1, image_size, image_size)
        super().__init__(split=split, **options)

    def prepare_data(self) -> None:
        """Check the split; there is nothing to fetch, and no folder to make."""
        self._make_splits_once()

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Read and enlarge the images; the values 0 ... 16 of the set become 0 ... 255."""
        from sklearn.datasets import load_digits  # here, since it costs start-up time

        digits = load_digits()
        images = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)
        images = F.interpolate(images, self._enlarged[1:], mode="bilinear", align_corners=False)
        return TensorImages(images.round().to(torch.uint8), torch.from_numpy(digits.target).long()), None
