"""MNIST and sets in its format."""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import ClassVar

from pytorch_lightning.utilities import rank_zero_warn
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.datasets.utils import check_integrity

from datamodules.images import ImageDataModule
from datamodules.tensors import TensorImages
from lightning_tasks.runs.atomic_writes import write_atomic


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
    # MD5 of the unpacked official files; torchvision knows those of the archives only.
    official: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }

    @property
    def raw(self) -> Path:
        """Folder of the unpacked files. Nothing else is read, in particular no `processed/*.pt` of old torchvision."""
        return self.root / self.dataset.__name__ / "raw"

    def download(self) -> None:
        """Fetch the four files from the official mirrors unless they are there, in whatever packing.

        Raises:
            OSError: If that fails; names what is there under their names and has other content.
        """
        others = [path for name in self._files() for path in self._unpack(name)]
        if all((self.raw / name).is_file() for name in self._files()):
            return
        fetcher = object.__new__(self.dataset)  # its constructor would be content with `processed/`
        fetcher.root = str(self.root)
        try:
            fetcher.download()
        except Exception as error:
            if not others:
                raise
            named = " and ".join(map(str, others[:3]))
            raise OSError(
                f"{error}; what is there, {named}, does not have the content of the official files"
            ) from error

    def _unpack(self, name: str) -> list[Path]:
        """Write an official file to its place from another packing, if one is there; list those of other content.

        Packings are what mirrors and Kaggle have: `train-images.idx3-ubyte`, a folder of that name, any gzip file.
        """
        others: list[Path] = []
        if (self.raw / name).is_file():
            return others
        folders = [self.raw, self.raw.parent]
        if self.official:  # else whose files they are cannot be told
            folders += [self.root, self.root / self.dataset.__name__.lower()]
        names = (name, name.replace("-idx", ".idx"))
        within = [f"{folder}{each}" for folder in ("", *(f"{each}/" for each in names)) for each in names]
        for path in (folder / f"{each}{ending}" for folder in folders for each in within for ending in ("", ".gz")):
            if not path.is_file():
                continue
            try:
                content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            except (OSError, EOFError, zlib.error):  # cut short, or no gzip file
                content = b""
            if content and self.official.get(name) in (None, hashlib.md5(content).hexdigest()):
                write_atomic(self.raw / name, content)
                break
            others.append(path)
        return others

    def checksums(self) -> dict[Path, str]:
        """Give the MD5 of each unpacked file, as known or as its official archive beside it has it; warns without."""
        found = {}
        for name in self._files():
            md5 = self.official.get(name) or self._md5_in_archive(self.raw / f"{name}.gz")
            if md5 is None:
                file = self.raw / name
                rank_zero_warn(f"{self.dataset_name}: {file} cannot be verified without {name}.gz beside it")
            else:
                found[self.raw / name] = md5
        return found

    def _files(self) -> list[str]:
        return [archive.removesuffix(".gz") for archive, _ in self.dataset.resources]

    def _md5_in_archive(self, archive: Path) -> str | None:
        if not check_integrity(str(archive), dict(self.dataset.resources)[archive.name]):
            return None
        with gzip.open(archive) as content:
            return hashlib.file_digest(content, "md5").hexdigest()

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Read both official splits."""
        self.class_names = list(self.dataset.classes)
        return self._read("train"), self._read("t10k")

    def _read(self, name: str) -> TensorImages:
        images = read_image_file(str(self.raw / f"{name}-images-idx3-ubyte"))
        labels = read_label_file(str(self.raw / f"{name}-labels-idx1-ubyte"))
        return TensorImages(images[:, None], labels)


class FashionMNISTDataModule(MNISTDataModule):
    """70,000 images of clothes in MNIST's format (Xiao et al. 2017, https://arxiv.org/abs/1708.07747).

    Mean and standard deviation are those of the 60,000 training images.
    """

    dataset_name = "FashionMNIST"
    mean = (0.2860,)
    std = (0.3530,)
    dataset = datasets.FashionMNIST
    official: ClassVar[dict[str, str]] = {}
