"""CIFAR-10 and CIFAR-100."""

import contextlib
import hashlib
import lzma
import pickle
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import torch
from torchvision import datasets

from datamodules.class_groups import ClassGroup, group_of_each, require_names
from datamodules.images import ImageDataModule
from datamodules.tensors import TensorImages
from lightning_tasks.runs.atomic_writes import write_atomic
from lightning_tasks.runs.data_spec import ImageDataSpec


class CIFAR10DataModule(ImageDataModule):
    """60,000 colour photographs of 10 classes, 32 x 32, 50,000 of them for training.

    Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". Mean and standard deviation are those of
    the 50,000 training images, per channel.
    """

    dataset_name = "CIFAR10"
    num_classes = 10
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    image_shape = (3, 32, 32)
    label_key: ClassVar[str] = "labels"
    dataset: ClassVar[type[datasets.CIFAR10]] = datasets.CIFAR10

    @property
    def folder(self) -> Path:
        """Folder of the unpacked files: the official one, or the first with all of their names, as Kaggle has them."""
        base, name = self.root / self.dataset.base_folder, self.dataset.__name__.lower()
        others = (base / base.name, self.root / name, self.root / f"cifar-{self.num_classes}", self.root)
        return next((each for each in (base, *others) if self._is_whole(each)), base)

    def download(self) -> None:
        """Fetch the archive from the official address unless its files are there.

        Raises:
            OSError: If that fails; names what is there instead of the official files.
        """
        if self._is_whole(self.folder):
            return
        for archive in sorted(self.root.glob(f"{self.dataset.base_folder.removesuffix('-batches-py')}*.t*")):
            self._unpack(archive)
        if self._is_whole(self.folder):
            return
        try:
            self.dataset(str(self.root), download=True)
        except Exception as error:
            if others := self._others():
                raise OSError(
                    f"{error}; what is there, {' and '.join(map(str, others[:3]))}, are not the official Python files:"
                    " ImageFolderDataModule takes folders of images, ImageArraysDataModule .npz and .npy"
                ) from error
            raise

    def checksums(self) -> dict[Path, str]:
        """Give the MD5 of each official file."""
        folder = self.folder
        return {folder / name: md5 for name, md5 in self._official().items()}

    def _official(self) -> dict[str, str]:
        meta = self.dataset.meta["filename"], self.dataset.meta["md5"]
        return dict((*self.dataset.train_list, *self.dataset.test_list, meta))

    def _is_whole(self, folder: Path) -> bool:
        return all((folder / name).is_file() for name in self._official())

    def _unpack(self, archive: Path) -> None:
        """Take the official files out of an archive, however it was packed, as far as it is not damaged."""
        official, found = self._official(), {}
        damaged = tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError
        with contextlib.suppress(*damaged), tarfile.open(archive) as content:
            for member in content:
                name, stream = Path(member.name).name, content.extractfile(member)
                its = stream.read() if stream and name in official else b""
                if hashlib.md5(its).hexdigest() == official.get(name):
                    found[name] = its
        for name, its in found.items():  # here, since a full disk is no damage of the archive
            write_atomic(self.root / self.dataset.base_folder / name, its)

    def _others(self) -> list[Path]:
        """List what seems to be this set in another packaging."""
        official = self.dataset.base_folder, self.dataset.filename
        of_this_set = re.compile(rf"cifar[-_ ]?{self.num_classes}(?!\d)", re.IGNORECASE)
        alike = [path for path in sorted(self.root.iterdir()) if of_this_set.match(path.name)]
        return [path for path in alike if path.name not in official and path.suffix != ".pth"]

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Read both official splits and the names of the classes."""
        meta = _unpickle(self.folder / self.dataset.meta["filename"])
        self.class_names = list(meta[self.dataset.meta["key"]])
        return self._read(self.dataset.train_list), self._read(self.dataset.test_list)

    def _read(self, files: list[list[str]]) -> TensorImages:
        contents = [_unpickle(self.folder / name) for name, _ in files]
        images = torch.cat([torch.from_numpy(each["data"]).view(-1, *type(self).image_shape) for each in contents])
        return TensorImages(images, torch.tensor([label for each in contents for label in each[self.label_key]]))


class CIFAR100DataModule(CIFAR10DataModule):
    """60,000 colour photographs of 100 classes, 32 x 32, 50,000 of them for training.

    Krizhevsky 2009, as CIFAR-10. Mean and standard deviation are its own: those of CIFAR-10, which some public code
    uses here, differ by up to 0.02. `class_levels` has the 20 superclasses, as the files have them, and the groups.

    Args:
        groups: Groups of superclasses, as configs/groups/cifar100.yaml has them: a third level of the tree of classes.
        **options: See ImageDataModule.

    Raises:
        ValueError: If an option is out of range, or the groups do not hold every superclass once.
    """

    dataset_name = "CIFAR100"
    num_classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    label_key = "fine_labels"
    dataset = datasets.CIFAR100

    def __init__(self, groups: list[ClassGroup] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.groups = groups
        require_names(groups or [])

    @property
    def data_spec(self) -> ImageDataSpec:
        """Those of every image set, and the groups, if there are any."""
        if self.groups is None:
            return super().data_spec
        return {**super().data_spec, "groups": {group.name: group.superclasses for group in self.groups}}

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Read both official splits, the names of the classes, and the superclass and the group of each."""
        splits = super().load()
        names = _unpickle(self.folder / self.dataset.meta["filename"])["coarse_label_names"]
        content = _unpickle(self.folder / self.dataset.test_list[0][0])  # has all classes too, and is a fifth as long
        superclasses = dict(zip(content["fine_labels"], content["coarse_labels"], strict=True))
        levels = {"superclass": [names[superclasses[label]] for label in range(self.num_classes)]}
        if self.groups is not None:
            groups = group_of_each(self.groups, names)
            levels["group"] = [groups[name] for name in levels["superclass"]]
        self.class_levels = levels
        return splits


def _unpickle(path: Path) -> dict:
    """Read an official file, which has been verified: a pickle of another could do anything."""
    with open(path, "rb") as file:
        return pickle.load(file, encoding="latin1")
