"""Anybody's images, in arrays."""

from collections.abc import Mapping
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn

from datamodules.images import ImageDataModule, Split, channel_statistics
from datamodules.tensors import TensorImages
from lightning_tasks.runs.paths import user_path

# What the arrays of a split are called, images and labels: by Keras, by MedMNIST, and where there is one split only.
NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "val": tuple(
        pair
        for name in ("val", "valid", "validation", "dev")
        for pair in ((f"x_{name}", f"y_{name}"), (f"{name}_images", f"{name}_labels"))
    ),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
CHANNELS = (1, 3)


class ImageArraysDataModule(ImageDataModule):
    """Images and labels in a `.npz` file, or in `.npy` files of these names in a folder.

    The arrays are `x_train`, `y_train`, `x_test`, `y_test`, or `train_images`, `train_labels` and so on, and `x_val` or
    `val_images` (or `valid`, `validation`, `dev`) for validation, for which a part of the training images is set aside
    otherwise. `images` and `labels` alone have no official split, so `split` must name a ratio. Images are (N, H, W),
    (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, of bytes or of floating-point numbers in [0, 1], which are
    rounded to bytes. Labels are the whole numbers 0 ... K - 1, (N,) or (N, 1), each of some training image, unless
    `class_names` names K classes. Python objects in an array are never read. Mean and standard deviation are those of
    the training images, unless given.

    Args:
        path: The file or folder.
        class_names: Names of the classes, in the order of the labels; their numbers if not given.
        split: See ImageDataModule.
        options: See ImageDataModule.

    Raises:
        FileNotFoundError: If there are no such arrays.
        ValueError: If an array is not what it should be; names it.
    """

    def __init__(
        self, path: str, class_names: list[str] | None = None, split: Split = "official", **options: Any
    ) -> None:
        self.path = user_path(path)
        self.dataset_name = self.path.resolve().stem  # type: ignore[misc]
        arrays, there = self._read()
        self._splits = {name: self._split(arrays, names) for name, names in NAMES.items()}
        train = self._splits["train"]
        if train is None:
            expected = " or ".join(" and ".join(pair) for pair in NAMES["train"])
            raise FileNotFoundError(f"data.path: {path} has no arrays {expected}, but {', '.join(there) or 'none'}")
        known = {name for pairs in NAMES.values() for pair in pairs for name in pair}
        if others := [name for name in there if name not in known]:
            rank_zero_warn(f"data.path: {path}: not read: {', '.join(others)}")
        self.num_classes = self._count_classes(train.labels.unique().tolist(), class_names)  # type: ignore[misc]
        self.image_shape = tuple(train[0][0].shape)  # type: ignore[assignment]
        for name, data in self._splits.items():
            if data is not None and (data[0][0].shape != train[0][0].shape or data.labels.max() >= self.num_classes):
                shape, largest = list(data[0][0].shape), int(data.labels.max())
                raise ValueError(
                    f"data.path: {path}: {name} has images {shape} and labels up to {largest}, train"
                    f" {list(self.image_shape)} and {self.num_classes - 1}"
                )
        if class_names is not None and len(class_names) != self.num_classes:
            raise ValueError(f"class_names: {len(class_names)} names for {self.num_classes} classes")
        self.mean, self.std = channel_statistics(train)
        super().__init__(split=split, **options)
        self.class_names = class_names or self.class_names

    def prepare_data(self) -> None:
        """Check the split; there is nothing to fetch."""
        self._make_splits_once()

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Give what the arrays hold."""
        train = self._splits["train"]
        assert train is not None
        return train, self._splits["test"]

    def load_val(self) -> TensorImages | None:
        """Give the validation split, if there is one."""
        return self._splits["val"]

    def _read(self) -> tuple[dict[str, np.ndarray], list[str]]:
        """Read the arrays that have a name in NAMES, and list the names of all."""
        known = {name for pairs in NAMES.values() for pair in pairs for name in pair}
        try:
            if self.path.is_dir():
                files = {file.stem: file for file in sorted(self.path.glob("[!.]*.npy"))}
                return {name: np.load(files[name]) for name in sorted(known & set(files))}, list(files)
            content = np.load(self.path)
            if isinstance(content, Mapping):
                arrays = {name: content[name] for name in content if name in known}
                if others := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
                    raise ValueError(f"{others[0]} is no array")
                return arrays, list(content)
        except FileNotFoundError:
            raise FileNotFoundError(f"data.path: there is no {self.path}") from None
        except (ValueError, EOFError, BadZipFile, OSError) as error:
            raise ValueError(f"data.path: {self.path} cannot be read: {error}") from error
        raise ValueError(f"data.path: {self.path} is one array; give the folder of images.npy and labels.npy")

    def _count_classes(self, labels: list[int], class_names: list[str] | None) -> int:
        """Count the classes from the labels that training images have, in order."""
        if len(labels) < 2:
            raise ValueError(f"data.path: {self.path} has one class only")
        num_classes = labels[-1] + 1
        if len(labels) < num_classes:
            if class_names is None or len(class_names) != num_classes:
                raise ValueError(f"data.path: {self.path}: {_why_not_counted(labels)}")
            lost = next(name for label, name in enumerate(class_names) if label not in labels)
            count = num_classes - len(labels)
            rank_zero_warn(f"data.path: {self.path} has no training image of {lost!r}, one of {count} such classes")
        return num_classes

    def _split(self, arrays: Mapping[str, np.ndarray], names: tuple[tuple[str, str], ...]) -> TensorImages | None:
        there = [pair for pair in names if not arrays.keys().isdisjoint(pair)]
        if len(there) > 1:
            raise ValueError(f"data.path: {self.path} has both {' and '.join(images for images, _ in there)}; keep one")
        for images, labels in there:
            for name, other in ((images, labels), (labels, images)):
                if name not in arrays:
                    raise ValueError(f"data.path: {self.path} has {other}, but no {name}")
            return TensorImages(self._as_images(arrays[images], images), self._as_labels(arrays, images, labels))
        return None

    def _as_images(self, array: np.ndarray, name: str) -> torch.Tensor:
        """Bring images to (N, C, H, W), uint8."""
        where = f"data.path: {name} in {self.path}"
        if array.ndim not in (3, 4) or not array.size:
            raise ValueError(f"{where} has shape {array.shape}, not (N, H, W), (N, H, W, C) or (N, C, H, W)")
        if array.ndim == 3:
            array = array[:, None]
        elif array.shape[3] in CHANNELS:
            array = array.transpose(0, 3, 1, 2)
        elif array.shape[1] not in CHANNELS:
            raise ValueError(f"{where} has shape {array.shape}, without an axis of 1 or 3 channels")
        dtype = array.dtype
        if dtype.kind == "f":
            if not (array.min() >= 0 and array.max() <= 1):
                raise ValueError(f"{where} has values from {array.min()} to {array.max()}; floats must be in [0, 1]")
            array = (array * 255).round()
        elif dtype != np.uint8:
            raise ValueError(f"{where} is of {dtype}; expected bytes (uint8), or floats in [0, 1]")
        if array.max() <= 1:
            why = "divided by 255 twice" if dtype.kind == "f" else "to be multiplied by 255"
            rank_zero_warn(f"{where} is black, with no value above 1 of 255: {why}?")
        return torch.from_numpy(np.ascontiguousarray(array, np.uint8))

    def _as_labels(self, arrays: Mapping[str, np.ndarray], images: str, name: str) -> torch.Tensor:
        labels = arrays[name]
        where = f"data.path: {name} in {self.path}"
        if labels.size != len(labels) or len(labels) != len(arrays[images]):
            raise ValueError(f"{where} has shape {labels.shape} for {len(arrays[images])} images")
        if labels.dtype.kind not in "iu" or labels.min() < 0:
            raise ValueError(f"{where} must be whole numbers from 0, got {labels.dtype} from {labels.min()}")
        return torch.from_numpy(labels.reshape(-1).astype(np.int64))


def _why_not_counted(labels: list[int]) -> str:
    """Say what the labels are in place of 0 ... K - 1, and the likely cause."""
    count = len(labels)
    said = ", ".join(map(str, labels if count < 8 else [*labels[:5], "...", labels[-1]]))
    cause = "np.unique(labels, return_inverse=True)[1] numbers them anew"
    if labels == list(range(1, count + 1)):
        cause = "subtract 1?"
    elif labels == [*range(count - 1), 255]:
        cause = "255 often means no label: leave those images out?"
    return f"labels must be 0 to {count - 1} for {count} classes, found {said}; {cause}"
