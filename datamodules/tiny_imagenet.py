"""Tiny ImageNet."""

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZipFile

import torch
from pytorch_lightning.utilities import rank_zero_warn
from rich.progress import track
from torchvision.datasets.utils import check_integrity

from datamodules.decoding import ENOUGH_FOR_A_BAR, StoredImages, decode_to_file
from datamodules.download import fetch_file
from datamodules.images import ImageDataModule, channel_statistics
from datamodules.listing import count_kinds, visible_files
from datamodules.tensors import TensorImages
from lightning_tasks.runs.paths import user_path

OFFICIAL_CLASSES, OFFICIAL_IMAGES = 200, 100_000  # of the training split


class TinyImageNetDataModule(ImageDataModule):
    """110,000 colour photographs of 200 classes, 64 x 64, 100,000 of them for training.

    Le and Yang 2015, "Tiny ImageNet Visual Recognition Challenge". The official test split has no labels, so the
    official validation split, 50 images of each class, is the test split here; validation images are taken from the
    training split.

    `<root>/tiny-imagenet-200` is used as it is where it is there, also with fewer classes or images, within another
    folder of its name, without the folders `images`, or with `val` sorted into folders of classes. Else the official
    archive beside it is unpacked, or downloaded first (248 MB, and 1.4 GB for the arrays). Images are decoded once,
    those of all classes, to one array for each split: `train/.decoded.npy` and `val/.decoded.npy`. Classes are in the
    order of their WordNet numbers, and have the first of their names in `words.txt`.

    Mean and standard deviation are those of all 100,000 training images, per channel; of other sets of classes they are
    computed from the training images of these. A split other than the official one holds the images in memory.

    Args:
        num_classes: Use only the first `num_classes` classes of `wnids.txt` that have images; all by default.
        root: See BaseDataModule.
        **options: See ImageDataModule.

    Raises:
        OSError: If the data are neither there nor to be had, a file is missing, or there is no room for the arrays.
        ValueError: If an option is out of range, or a file is damaged; names it.
    """

    dataset_name = "TinyImageNet"
    num_classes = OFFICIAL_CLASSES
    mean: tuple[float, ...] = (0.4802, 0.4481, 0.3975)
    std: tuple[float, ...] = (0.2770, 0.2691, 0.2821)
    image_shape = (3, 64, 64)
    address: ClassVar[str] = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    md5: ClassVar[str] = "90528d7ca1a48142e341f4ef8d21d0de"

    def __init__(self, num_classes: int | None = None, root: str = "data", **options: Any) -> None:
        if num_classes is not None and num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.root = user_path(root)
        self.folder = self.root / "tiny-imagenet-200"
        self.fetch()
        if (inner := self.folder / self.folder.name).is_dir() and not (self.folder / "wnids.txt").exists():
            self.folder = inner
        classes = self._classes()
        self.num_classes = num_classes or len(classes)  # type: ignore[misc]
        if self.num_classes > len(classes):
            raise ValueError(f"num_classes: {num_classes} asked for, but {self.folder} has {len(classes)} classes")
        classes = [*sorted(classes[: self.num_classes]), *classes[self.num_classes :]]
        words = self._words()
        if lost := [each for each in classes if each not in words]:
            raise ValueError(f"{self.folder / 'words.txt'} has no line for {lost[0]}")
        self._splits = self._train_split(classes), self._test_split(classes, words)
        train = self._splits[0]
        if (self.num_classes, len(train)) != (OFFICIAL_CLASSES, OFFICIAL_IMAGES):
            self.mean, self.std = channel_statistics(train)
        super().__init__(root=root, **options)
        self.class_names = [words[each] for each in classes[: self.num_classes]]

    def download(self) -> None:
        """Fetch, verify and unpack the official archive, unless the folder is there; a kill leaves no part of it.

        Raises:
            ValueError: If an archive is there that is not the official one.
        """
        if self.folder.is_dir():
            return
        archive = self.root / "tiny-imagenet-200.zip"
        if not archive.is_file():
            fetch_file(self.address, archive, self.md5)
        elif not check_integrity(str(archive), self.md5):
            raise ValueError(f"{archive} is not the official file")
        unfinished = self.root / ".tiny-imagenet-200.partial"
        shutil.rmtree(unfinished, ignore_errors=True)  # of a kill
        try:
            with ZipFile(archive) as content:
                names = content.namelist()
                few = len(names) < ENOUGH_FOR_A_BAR
                for name in track(names, f"unpacking {archive.name}", disable=few, transient=True):
                    content.extract(name, unfinished)
            os.rename(unfinished / self.folder.name, self.folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Give the training split and the official validation split, which is the test split here."""
        return self._splits

    def _classes(self) -> list[str]:
        """WordNet numbers of the classes of which there are training images, in the order of `wnids.txt`."""
        wnids = list(dict.fromkeys((self.folder / "wnids.txt").read_text().split()))
        classes = [each for each in wnids if (self.folder / "train" / each).is_dir()]
        if len(classes) < 2:
            raise FileNotFoundError(
                f"{self.folder / 'train'}: expected a folder for each class of wnids.txt, two at least; found"
                f" {len(classes)} of {len(wnids)}"
            )
        return classes

    def _words(self) -> dict[str, str]:
        """First name of each WordNet number."""
        lines = (line.partition("\t") for line in (self.folder / "words.txt").read_text().splitlines())
        return {wnid: names.split(",")[0].strip() for wnid, _, names in lines}

    def _train_split(self, classes: list[str]) -> StoredImages:
        files, labels = [], []
        for wnid in sorted(classes):  # the array does not depend on the choice of classes
            found = self._of_class(self.folder / "train" / wnid, f"{wnid}_*.JPEG")
            files += found
            labels += [classes.index(wnid)] * len(found)
        self._say_what_is_not_read(self.folder / "train", files)
        return self._decoded("train", files, labels)

    def _test_split(self, classes: list[str], words: dict[str, str]) -> StoredImages:
        """The annotated images of the classes, in the order of the annotations; each image must have one."""
        val = self.folder / "val"
        if not (val / "images").is_dir() and any((val / wnid).is_dir() for wnid in classes):
            self._say_what_is_not_read(val, [*val.rglob("val_*.JPEG"), val / "val_annotations.txt"])
            of = {
                file: label for label, wnid in enumerate(classes) for file in self._of_class(val / wnid, "val_*.JPEG")
            }
            files = sorted(of, key=lambda file: (len(file.name), file.name))  # as the annotations are, by number
            return self._decoded("val", files, [of[file] for file in files])
        images, path = val / "images", val / "val_annotations.txt"
        wnids: dict[str, str] = {}
        for number, line in enumerate(path.read_text().splitlines(), 1):
            name, _, rest = line.partition("\t")
            wnid = rest.partition("\t")[0]
            if wnid not in words or name in wnids:
                what = "annotates an image again" if name in wnids else "is not an image and its class"
                raise ValueError(f"{path}: line {number} {what}: {line!r}")
            wnids[name] = wnid
        there = {file.name for file in images.glob("val_*.JPEG")}
        if unknown := sorted(there - set(wnids)):
            raise ValueError(f"{path} has no line for {unknown[0]}, one of {len(unknown)} such images")
        self._say_what_is_not_read(images, [images / name for name in there])
        labels = {name: classes.index(wnid) for name, wnid in wnids.items() if wnid in classes}
        if lost := sorted(set(labels) - there):
            raise FileNotFoundError(f"{path} annotates {lost[0]}, one of {len(lost)} that are not in {images}")
        if empty := sorted(set(classes) - set(wnids.values())):
            raise ValueError(f"{path} has no image of {empty[0]}, one of {len(empty)} such classes")
        return self._decoded("val", [images / name for name in labels], list(labels.values()))

    @staticmethod
    def _of_class(folder: Path, pattern: str) -> list[Path]:
        """List the images of a class, which lie in its folder or in `images` there."""
        within = folder / "images"
        found = sorted((within if within.is_dir() or not folder.is_dir() else folder).glob(pattern))
        if not found:
            raise FileNotFoundError(f"{within} has no images {pattern}")
        return found

    @staticmethod
    def _say_what_is_not_read(folder: Path, read: list[Path]) -> None:
        """Warn of files beside the images, but for the official ones with boxes around what they show."""
        others = [each for each in set(visible_files(folder)) - set(read) if not each.name.endswith("_boxes.txt")]
        if others:
            rank_zero_warn(f"TinyImageNet: not read: {count_kinds(sorted(others), where=True)}")

    def _decoded(self, split: str, files: list[Path], labels: list[int]) -> StoredImages:
        file = decode_to_file(files, self.folder / split / ".decoded", shape=self.image_shape)
        data = StoredImages(file, torch.tensor(labels))
        return data.subset(torch.nonzero(data.labels < self.num_classes).flatten())
