"""Anybody's images, in one folder a class."""

from pathlib import Path
from typing import Any

import torch

from datamodules.decoding import EXTENSIONS, StoredImages, decode_to_file
from datamodules.images import ImageDataModule, Split, channel_statistics
from datamodules.tensors import TensorImages


class ImageFolderDataModule(ImageDataModule):
    """Images that lie in `<folder>/train/<class>/` and `<folder>/test/<class>/`, or all in `<folder>/<class>/`.

    The latter have no official split, so `split` must name a ratio. The classes are the names of the folders, in
    alphabetical order. Images are decoded once, to RGB, and kept in one array beside the folders. Mean and standard
    deviation are those of the training folders, unless given.

    Args:
        folder: Where the images are.
        image_size: Side that all images are resized to; else they must be of one size.
        split: See ImageDataModule.
        options: See ImageDataModule.

    Raises:
        FileNotFoundError: If there are no images there.
        ValueError: If a file is no image, sizes differ, or train and test have other classes.
    """

    def __init__(
        self,
        folder: str,
        image_size: int | None = None,
        split: Split = "official",
        **options: Any,
    ) -> None:
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        self.folder = Path(folder)
        self.dataset_name = self.folder.resolve().name  # type: ignore[misc]
        parts = [self.folder / part for part in ("train", "test") if (self.folder / part).is_dir()]
        self._parts = [_Part(part, image_size) for part in parts or [self.folder]]
        classes = self._parts[0].classes
        for part in self._parts[1:]:
            if part.classes != classes:
                other = sorted(set(part.classes) ^ set(classes))[:3]
                raise ValueError(f"data.folder: {parts[0]} and {part.folder} have other classes: {', '.join(other)}")
        train = self._parts[0].data
        self.num_classes = len(classes)  # type: ignore[misc]
        self.image_shape = (3, *train[0][0].shape[1:])
        self.mean, self.std = channel_statistics(train)
        super().__init__(split=split, **options)
        self.class_names = classes

    def prepare_data(self) -> None:
        """Check the split; there is nothing to fetch."""
        self._make_parts_once()

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Give what the folders hold."""
        train, *test = self._parts
        return train.data, test[0].data if test else None


class _Part:
    """The images below a folder, one folder a class."""

    def __init__(self, folder: Path, image_size: int | None) -> None:
        self.folder = folder
        found = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in EXTENSIONS)
        self.classes = sorted({path.parent.name for path in found})
        if len(self.classes) < 2:
            raise FileNotFoundError(
                f"data.folder: expected images in {folder}/<class>/, two classes at least; found {len(found)} images of"
                f" {len(self.classes)}"
            )
        labels = torch.tensor([self.classes.index(path.parent.name) for path in found])
        self.data = StoredImages(decode_to_file(found, folder / ".decoded", image_size), labels)
