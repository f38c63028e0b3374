"""Image files of any size, decoded while they are needed: what `predict` answers for a user."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch.utils.data import Dataset

from datamodules.decoding import UnreadableImageError, open_rgb
from datamodules.listing import count_kinds, is_image, visible_files
from datamodules.tensors import Batch
from lightning_tasks.runs.paths import user_path

UNLABELLED, UNREADABLE = -1, -2  # in the place of labels


def find_images(places: Sequence[str], option: str = "data.predict") -> list[Path]:
    """List image files: those that are named, those below a folder but hidden ones, those that a pattern matches.

    Other files that are there are counted in a warning.

    Args:
        places: Files, folders and patterns as `photos/**/*.png`.
        option: Option that names them, for the error message.

    Returns:
        Each file once; those of a folder or a pattern in the order of their names.

    Raises:
        FileNotFoundError: If a place has none.
    """
    found: dict[Path, None] = {}
    for place in places:
        path = user_path(place)
        if path.is_file():
            files = [path]
        else:
            names = visible_files(path) if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
            there = sorted(each for each in names if not each.is_dir())
            files = [each for each in there if is_image(each)]
            if files and len(files) < len(there):
                others = count_kinds((each for each in there if not is_image(each)), where=True)
                rank_zero_warn(f"{option}: {count_kinds(files)} at {place}; not read: {others}")
        if not files:
            raise FileNotFoundError(f"{option}: no image files at {place}")
        found |= dict.fromkeys(files)
    return list(found)


class ImageFiles(Dataset[Batch]):
    """Images from files, scaled so that they cover the shape, and cut to it around their middle.

    Files that cannot be read are black, and UNREADABLE is their label.

    Args:
        files: The files.
        shape: Channels (1 or 3), height and width.
    """

    def __init__(self, files: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self.files = files
        self.shape = shape

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Decode a batch: images (B, C, H, W) uint8, and UNLABELLED or UNREADABLE (B,)."""
        images = np.zeros((len(indices), *self.shape), np.uint8)
        labels = torch.full((len(indices),), UNLABELLED)
        for place, index in enumerate(indices):
            try:
                images[place] = read_image(self.files[index], self.shape)
            except UnreadableImageError:
                labels[place] = UNREADABLE
        return torch.from_numpy(images), labels


def read_image(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode a file, see ImageFiles. Shape (C, H, W), uint8.

    Raises:
        UnreadableImageError: If it is no whole image.
    """
    channels, height, width = shape
    image = open_rgb(file, (width, height))
    pixels = np.asarray(image if channels == 3 else image.convert("L"))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def workers_for(files: Sequence[Path]) -> int:
    """Say by how many processes files are decoded: few files are done before a process has started."""
    return min(os.cpu_count() or 1, len(files) // 200)
