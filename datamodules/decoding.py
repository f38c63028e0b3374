"""Image files, decoded once into one array that stays beside them."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, UnidentifiedImageError
from pytorch_lightning.utilities import rank_zero_warn
from rich.progress import track
from torch import Tensor

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
ENOUGH_FOR_A_BAR = 2000  # files


def decode_images(files: Sequence[Path], cache: Path, image_size: int | None = None) -> Tensor:
    """Decode image files to RGB, or map the array that an earlier call has left.

    The array carries a fingerprint of the files (names, sizes, times of change) and is made anew when that differs. One
    process makes it, others wait. Where it cannot be written, it is kept in memory.

    Args:
        files: At least one.
        cache: Where the array is kept, without its suffix.
        image_size: Side to resize to (bilinear, ignoring proportions); else all files must have the size of the first.

    Returns:
        Shape (N, 3, H, W), uint8; memory-mapped, and private: what is written to it is not saved.

    Raises:
        ValueError: If a file is no image, or of another size; names it.
    """
    stamps = [(os.path.relpath(file, cache.parent), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    fingerprint = hashlib.sha256(json.dumps([image_size, stamps]).encode()).hexdigest()[:16]
    array, note = cache.with_name(f"{cache.name}.npy"), cache.with_name(f"{cache.name}.txt")
    if not os.access(cache.parent, os.W_OK):
        rank_zero_warn(f"{cache.parent} cannot be written to, so its images are decoded at each start")
        return torch.from_numpy(_decode(files, image_size))
    with FileLock(cache.with_name(f"{cache.name}.lock")):
        if not (array.is_file() and note.is_file() and note.read_text() == fingerprint):
            note.unlink(missing_ok=True)
            partial = array.with_suffix(".partial.npy")
            np.save(partial, _decode(files, image_size))
            os.replace(partial, array)
            note.write_text(fingerprint)
    return torch.from_numpy(np.load(array, mmap_mode="c"))


def _decode(files: Sequence[Path], image_size: int | None) -> np.ndarray:
    first = _read(files[0], image_size)
    images = np.empty((len(files), *first.shape), np.uint8)

    def fill(index: int) -> None:
        image = _read(files[index], image_size)
        if image.shape != first.shape:
            sizes = [f"{each.shape[2]} x {each.shape[1]}" for each in (image, first)]
            raise ValueError(f"{files[index]} has {sizes[0]} pixels and {files[0]} {sizes[1]}; give data.image_size")
        images[index] = image

    with ThreadPoolExecutor() as pool:  # decoding lets other threads run
        done = pool.map(fill, range(len(files)))
        list(track(done, "decoding images", len(files), disable=len(files) < ENOUGH_FOR_A_BAR, transient=True))
    return images


def _read(file: Path, image_size: int | None) -> np.ndarray:
    try:
        with Image.open(file) as image:
            rgb = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{file} is no image that can be read: {error}") from error
    if image_size is not None:
        rgb = rgb.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(rgb).transpose(2, 0, 1)
