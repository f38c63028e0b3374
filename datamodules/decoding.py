"""Image files, decoded once into one array that stays beside them."""

import functools
import hashlib
import json
import math
import os
import signal
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from pytorch_lightning.utilities import rank_zero_warn
from rich.progress import track
from torch import Tensor

from datamodules.tensors import Batch, TensorImages

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
ENOUGH_FOR_A_BAR = 2000  # files
GROUP_BYTES = 2**21  # of decoded images, which a process makes and writes at a time
Shape = tuple[int, ...]


class ArrayFile:
    """An array in a .npy file, which stays what it is when a new one takes the place of the file.

    Args:
        path: The file; its first axis counts images, its values are uint8.

    Attributes:
        array: The whole, memory-mapped and private: what is written to it is not saved.
    """

    def __init__(self, path: Path) -> None:
        self.array: np.memmap = np.load(path, mmap_mode="c")
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, indices: list[int]) -> np.ndarray:
        """Copy some images. Not from the map: that takes twice the time, and the whole file ends up resident.

        Raises:
            OSError: If the file was cut short meanwhile, where the map would end the process.
        """
        images = np.empty((len(indices), *self.array.shape[1:]), np.uint8)
        for image, index in zip(images, indices, strict=True):
            if os.preadv(self._descriptor, [image.data], self.array.offset + index * image.nbytes) < image.nbytes:
                raise OSError(f"{self.array.filename} was cut short while it is in use")
        return images


class StoredImages(TensorImages):
    """Images in a file that may be larger than the memory, read a batch at a time.

    Args:
        file: What `decode_to_file` gives. Shape (N, C, H, W), uint8.
        labels: Shape (N,), int64.
        indices: See TensorImages.
    """

    def __init__(self, file: ArrayFile, labels: Tensor, indices: Tensor | None = None) -> None:
        super().__init__(torch.from_numpy(file.array), labels, indices)
        self._file = file

    def __getitems__(self, indices: list[int]) -> Batch:
        """Fetch a batch: images (B, C, H, W) uint8 and labels (B,)."""
        index = self.indices[torch.tensor(indices)]
        return torch.from_numpy(self._file.read(index.tolist())), self._labels[index]

    def subset(self, indices: Tensor) -> "StoredImages":
        """Choose samples; the images stay where they are."""
        return StoredImages(self._file, self._labels, self.indices[indices])


def decode_to_file(
    files: Sequence[Path], cache: Path, image_size: int | None = None, shape: Shape | None = None
) -> ArrayFile:
    """Decode image files to RGB, or open the array that an earlier call has left.

    Grey levels and palettes become RGB, CMYK too (by Pillow's formula, without a colour profile). Of 16-bit grey levels
    the high byte is taken. Transparency is ignored, as torchvision's ImageFolder does: a pixel has its stored colour.

    The array carries a fingerprint of the files (names, sizes, times of change) and of itself (size, time of change);
    it is made anew when either differs. One process has it made, by as many as there are cores; others wait. Nothing
    that looks like a whole array is there before it is one. Where it cannot be written, it is made at each call.

    Args:
        files: At least one.
        cache: Where the array is kept, without its suffix.
        image_size: Side to resize to (bilinear, ignoring proportions).
        shape: Channels, height and width that all images must have; those of the first if not given.

    Returns:
        Shape (N, 3, H, W), uint8.

    Raises:
        ValueError: If a file is no whole image, or of another size; names it.
        OSError: If there is no room for the array; says how much it needs.
    """
    fingerprint = _fingerprint(files, cache.parent, image_size)
    array, note = cache.with_name(f"{cache.name}.npy"), cache.with_name(f"{cache.name}.txt")
    if not os.access(cache.parent, os.W_OK):
        rank_zero_warn(f"{cache.parent} cannot be written to, so its images are decoded at each start")
        with TemporaryDirectory() as folder:
            _build(Path(folder) / array.name, files, image_size, shape)
            return ArrayFile(Path(folder) / array.name)  # what is open outlives its name
    with FileLock(cache.with_name(f"{cache.name}.lock")):
        if not (array.is_file() and note.is_file() and note.read_bytes() == _note(fingerprint, array)):
            note.unlink(missing_ok=True)
            unfinished = array.with_suffix(".partial.npy")
            try:
                _build(unfinished, files, image_size, shape)
                os.replace(unfinished, array)
            finally:
                unfinished.unlink(missing_ok=True)
            note.write_bytes(_note(fingerprint, array))
        return ArrayFile(array)


def _fingerprint(files: Sequence[Path], base: Path, image_size: int | None) -> str:
    relative = functools.cache(lambda folder: os.path.relpath(folder, base))  # slower than all else here
    stats = [file.stat() for file in files]
    names = [(relative(os.path.dirname(file)), file.name) for file in files]
    stamps = [(*name, each.st_size, each.st_mtime_ns) for name, each in zip(names, stats, strict=True)]
    return hashlib.sha256(json.dumps([image_size, stamps]).encode()).hexdigest()[:16]


def _note(fingerprint: str, array: Path) -> bytes:
    return f"{fingerprint} {array.stat().st_size} {array.stat().st_mtime_ns}".encode()


def _build(path: Path, files: Sequence[Path], image_size: int | None, shape: Shape | None) -> None:
    """Decode into a new .npy file, whose space is reserved first."""
    allowed = "all must have {} x {}"
    if shape is None:
        shape = _read(files[0], image_size).shape
        allowed = f"{files[0]} {{}} x {{}}; give data.image_size"
    allowed = allowed.format(shape[2], shape[1])
    image_bytes = math.prod(shape)
    count = max(1, GROUP_BYTES // image_bytes)
    groups = [files[start : start + count] for start in range(0, len(files), count)]
    try:
        with open(path, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            start, end = file.tell(), file.tell() + len(files) * image_bytes
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, end)
        fill = functools.partial(_fill, path, image_size, shape, allowed)
        offsets = range(start, end, count * image_bytes)
        if len(groups) == 1:
            fill(start, files)
            return
        # Processes, since a small file keeps Python's lock for half of its time.
        workers = min(os.cpu_count() or 1, len(groups))
        with ProcessPoolExecutor(workers, get_context("fork"), _follow_parent) as pool:
            done = pool.map(fill, offsets, groups)
            list(track(done, "decoding images", len(groups), disable=len(files) < ENOUGH_FOR_A_BAR, transient=True))
    except OSError as error:
        need = f"{len(files) * image_bytes / 1e6:,.0f} MB"
        raise OSError(f"{path.parent}: the decoded images need {need} there, but {error.strerror or error}") from error


def _follow_parent() -> None:
    """Let a worker end when its parent is killed; it would wait for work for ever, and hold the lock."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _fill(path: Path, image_size: int | None, shape: Shape, allowed: str, offset: int, files: Sequence[Path]) -> None:
    """Decode a group of files to its place in the array's file."""
    images = np.empty((len(files), *shape), np.uint8)
    for image, file in zip(images, files, strict=True):
        pixels = _read(file, image_size)
        if pixels.shape != shape:
            raise ValueError(f"{file} has {pixels.shape[2]} x {pixels.shape[1]} pixels and {allowed}")
        image[:] = pixels
    with open(path, "r+b") as out:
        out.seek(offset)
        out.write(images.data)


def _read(file: Path, image_size: int | None) -> np.ndarray:
    try:
        with Image.open(file) as image:
            rgb = to_rgb(image)
            if image_size is not None:
                rgb = rgb.resize((image_size, image_size), Image.Resampling.BILINEAR)
            return np.asarray(rgb).transpose(2, 0, 1)
    except Exception as error:  # each of Pillow's formats raises other kinds
        raise ValueError(f"{file} is no image that can be read: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn an image of any mode into RGB, see `decode_to_file`.

    Raises:
        ValueError: If its pixels are floating-point numbers, whose range nobody knows.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode.startswith("I"):  # 16 bits; mode I has them in 32
        image = Image.fromarray((np.asarray(image).clip(0, 2**16 - 1) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")
