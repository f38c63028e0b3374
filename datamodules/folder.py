"""Anybody's images, in one folder a class."""

import os
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from datamodules.decoding import StoredImages, decode_to_file
from datamodules.images import ImageDataModule, Split, channel_statistics
from datamodules.listing import count_kinds, is_hidden, is_image, visible_files, visible_folders
from datamodules.preprocessing import preprocessing_of as find_preprocessing
from datamodules.tensors import TensorImages
from lightning_tasks.runs.paths import user_path

LOOKED_AT = 1000  # files at most, to say what there is in place of images
# What the folders of the splits may be called, in small or capital letters.
NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}


class ImageFolderDataModule(ImageDataModule):
    """Images that lie in `<folder>/train/<class>/`, `val/<class>/`, `test/<class>/`, or all in `<folder>/<class>/`.

    `valid/`, `validation/` and `dev/` are `val/` too. Without it a part of the training images is set aside. Without
    `test/` there is no official split, so `split` must name a ratio. A folder of such a name is a class if it holds
    images itself. The classes are the names of the folders, in alphabetical order. Hidden files and folders are
    ignored; what is read and what is not is counted in one line. Images are decoded once, to RGB, and kept in one array
    beside the folders. Mean and standard deviation are those of the training folders, unless given.

    Args:
        folder: Folder of the images.
        image_size: Side of the square that all images are scaled to cover and cut to around their middle; else they
            must be of one size.
        max_unreadable: Share of the files of a split that may be unreadable, in [0, 1); they are named and left out.
        preprocessing_of: See ImageDataModule.
        split: See ImageDataModule.
        options: See ImageDataModule.

    Raises:
        FileNotFoundError: If there are no images there, or none in the folder of a class.
        ValueError: If more files are no images, sizes differ, two folders mean the same split, or train and test have
            other classes.
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
        self.folder = user_path(folder)
        self.dataset_name = self.folder.resolve().name  # type: ignore[misc]
        folders = _split_folders(self.folder)
        if folders and "train" not in folders:
            there = " and ".join(place.name for place in folders.values())
            raise FileNotFoundError(f"data.folder: {self.folder} has {there}, but no train")
        folders = folders or {"train": self.folder}
        self._splits = {name: _Split(place, image_size, max_unreadable) for name, place in folders.items()}
        self._say_what_is_read()
        classes = self._splits["train"].classes
        for each in self._splits.values():
            if each.classes != classes:
                other = ", ".join(sorted(set(each.classes) ^ set(classes))[:3])
                first = self._splits["train"].folder
                raise ValueError(f"data.folder: {first} and {each.folder} have other classes: {other}")
            sizes = [list(split.data[0][0].shape[1:]) for split in (self._splits["train"], each)]
            if sizes[0] != sizes[1]:
                raise ValueError(
                    f"data.folder: images of train have {sizes[0]} pixels, those of {each.folder} {sizes[1]}; give"
                    " image_size"
                )
        train = self._splits["train"].data
        self.num_classes = len(classes)  # type: ignore[misc]
        self.image_shape = (3, *train[0][0].shape[1:])
        self.mean, self.std = channel_statistics(train)
        super().__init__(split=split, image_size=image_size, preprocessing_of=preprocessing_of, **options)
        self.class_names = classes

    def prepare_data(self) -> None:
        """Check the split; there is nothing to fetch."""
        self._make_splits_once()

    def _say_what_is_read(self) -> None:
        """Count it in one line, by split and kind; a warning if anything is not read."""
        splits = self._splits.values()
        read = ", ".join(
            f"{len(each.files):,} images of {len(each.classes)} classes in {each.folder} ({count_kinds(each.files)})"
            for each in splits
        )
        used = {file for split in splits for file in split.files}
        if others := [file for file in visible_files(self.folder) if file not in used]:
            rank_zero_warn(f"data.folder: {read}; not read: {count_kinds(sorted(others), where=True)}")
        else:
            rank_zero_info(f"data.folder: {read}")

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Give what the folders hold."""
        test = self._splits.get("test")
        return self._splits["train"].data, test.data if test else None

    def load_val(self) -> TensorImages | None:
        """Give what `val/` holds."""
        val = self._splits.get("val")
        return val.data if val else None


def _split_folders(folder: Path) -> dict[str, Path]:
    """Find the folder of each split by its name, in the order of NAMES; one that holds images itself is a class.

    Raises:
        ValueError: If two folders mean the same split.
    """
    found: dict[str, Path] = {}
    for split, names in NAMES.items():
        places = [each for each in visible_folders(folder) if each.name.lower() in names and not _is_class(each)]
        if len(places) > 1:
            raise ValueError(f"data.folder: {' and '.join(map(str, places))} both mean {split}; move one of them away")
        found |= {split: place for place in places}
    return found


def _is_class(folder: Path) -> bool:
    return bool(_images(folder)) and not any(map(_images, visible_folders(folder)))


def _images(folder: Path) -> list[Path]:
    """List the images in a folder, not below it."""
    with os.scandir(folder) as entries:  # knows what is a folder without asking for each file
        files = [Path(each.path) for each in entries if not is_hidden(each.name) and not each.is_dir()]
    return [file for file in files if is_image(file)]


class _Split:
    """The images below a folder, one folder a class."""

    def __init__(self, folder: Path, image_size: int | None, max_unreadable: float) -> None:
        self.folder = folder
        images = {place: _images(place) for place in visible_folders(folder)}
        self.files = found = sorted(file for files in images.values() for file in files)
        self.classes = [place.name for place in images]
        if empty := [place for place, files in images.items() if found and not files]:
            raise FileNotFoundError(f"data.folder: {_why_empty(empty[0])}")
        if len(images) < 2 or not found:
            raise FileNotFoundError(
                f"data.folder: expected images in {folder}/<class>/, two classes at least; found {len(found)} images of"
                f" {len(images) if found else 0}{_what_else(folder)}"
            )
        same = sorted(name for name in self.classes if [each.lower() for each in self.classes].count(name.lower()) > 1)
        if same:
            raise ValueError(f"data.folder: {folder} has classes that differ in case only: {', '.join(same)}")
        labels = torch.tensor([self.classes.index(path.parent.name) for path in found])
        file = decode_to_file(found, folder / ".decoded", image_size, max_unreadable=max_unreadable)
        readable = [place for place in range(len(found)) if place not in file.unreadable]
        self.data = StoredImages(file, labels, torch.tensor(readable))


def _why_empty(folder: Path) -> str:
    """Say what the folder of a class holds in place of images, and what to do."""
    files = sorted(visible_files(folder))
    deeper = [file for file in files if is_image(file)]
    if deeper:
        return f"class folder {folder} has images in subfolders only ({count_kinds(deeper, where=True)}); move them up"
    if files:
        return (
            f"class folder {folder} has no image, but {count_kinds(files)}; convert them to .png or .jpg, or move the"
            " folder away"
        )
    return f"class folder {folder} is empty; put its images there or remove it"


def _what_else(folder: Path) -> str:
    """Say what files there are, of a folder that may be the wrong one, and large; the end of a sentence."""
    files = list(islice(visible_files(folder), LOOKED_AT)) if folder.is_dir() else []
    return f"; there are {count_kinds(files, where=True)}{' or more' * (len(files) == LOOKED_AT)}" if files else ""
