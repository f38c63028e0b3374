"""Anybody's images, in one folder a class."""

from pathlib import Path
from typing import Any

import torch

from datamodules.decoding import EXTENSIONS, StoredImages, decode_to_file
from datamodules.images import ImageDataModule, Split, channel_statistics
from datamodules.preprocessing import preprocessing_of as find_preprocessing
from datamodules.tensors import TensorImages


class ImageFolderDataModule(ImageDataModule):
    """Images that lie in `<folder>/train/<class>/`, `val/<class>/`, `test/<class>/`, or all in `<folder>/<class>/`.

    Without `val/` a part of the training images is set aside. Without `test/` there is no official split, so `split`
    must name a ratio. The classes are the names of the folders, in alphabetical order. Images are decoded once, to RGB,
    and kept in one array beside the folders. Mean and standard deviation are those of the training folders, unless
    given.

    Args:
        folder: Where the images are.
        image_size: Side of the square that all images are scaled to cover and cut to around their middle; else they
            must be of one size.
        max_unreadable: Share of the files of a part that may be unreadable, in [0, 1); they are named and left out.
        preprocessing_of: See ImageDataModule.
        split: See ImageDataModule.
        options: See ImageDataModule.

    Raises:
        FileNotFoundError: If there are no images there.
        ValueError: If more files are no images, sizes differ, or train and test have other classes.
    """

    def __init__(
        self,
        folder: str,
        image_size: int | None = None,
        max_unreadable: float = 0.01,
        preprocessing_of: str | None = None,
        split: Split = "official",
        **options: Any,
    ) -> None:
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        if not 0 <= max_unreadable < 1:
            raise ValueError(f"max_unreadable must be in [0, 1), got {max_unreadable}")
        if preprocessing_of is not None and image_size is None:
            image_size = find_preprocessing(preprocessing_of).side
        self.folder = Path(folder)
        self.dataset_name = self.folder.resolve().name  # type: ignore[misc]
        names = [name for name in ("train", "val", "test") if (self.folder / name).is_dir()]
        if names and names[0] != "train":
            raise FileNotFoundError(f"data.folder: {self.folder} has {' and '.join(names)}, but no train")
        self._parts = {name: _Part(self.folder / name, image_size, max_unreadable) for name in names}
        self._parts = self._parts or {"train": _Part(self.folder, image_size, max_unreadable)}
        classes = self._parts["train"].classes
        for part in self._parts.values():
            if part.classes != classes:
                other = ", ".join(sorted(set(part.classes) ^ set(classes))[:3])
                first = self._parts["train"].folder
                raise ValueError(f"data.folder: {first} and {part.folder} have other classes: {other}")
        train = self._parts["train"].data
        self.num_classes = len(classes)  # type: ignore[misc]
        self.image_shape = (3, *train[0][0].shape[1:])
        self.mean, self.std = channel_statistics(train)
        super().__init__(split=split, image_size=image_size, preprocessing_of=preprocessing_of, **options)
        self.class_names = classes

    def prepare_data(self) -> None:
        """Check the split; there is nothing to fetch."""
        self._make_parts_once()

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Give what the folders hold."""
        test = self._parts.get("test")
        return self._parts["train"].data, test.data if test else None

    def load_val(self) -> TensorImages | None:
        """Give what `val/` holds."""
        val = self._parts.get("val")
        return val.data if val else None


class _Part:
    """The images below a folder, one folder a class."""

    def __init__(self, folder: Path, image_size: int | None, max_unreadable: float) -> None:
        self.folder = folder
        found = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in EXTENSIONS)
        self.classes = sorted({path.parent.name for path in found})
        if len(self.classes) < 2:
            raise FileNotFoundError(
                f"data.folder: expected images in {folder}/<class>/, two classes at least; found {len(found)} images of"
                f" {len(self.classes)}"
            )
        same = sorted(name for name in self.classes if [each.lower() for each in self.classes].count(name.lower()) > 1)
        if same:
            raise ValueError(f"data.folder: {folder} has classes that differ in case only: {', '.join(same)}")
        labels = torch.tensor([self.classes.index(path.parent.name) for path in found])
        file = decode_to_file(found, folder / ".decoded", image_size, max_unreadable=max_unreadable)
        readable = [place for place in range(len(found)) if place not in file.unreadable]
        self.data = StoredImages(file, labels, torch.tensor(readable))
