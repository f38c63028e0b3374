"""Image files, decoded once into one array that stays beside them."""

import functools
import hashlib
import json
import math
import os
import signal
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageOps
from pytorch_lightning.utilities import rank_zero_warn
from rich.progress import track
from torch import Tensor

from datamodules.tensors import Batch, TensorImages
from datamodules.verified import state

JPEG, PPM = (".jpg", ".jpeg", ".jpe", ".jfif"), (".ppm", ".pgm", ".pbm", ".pnm")
EXTENSIONS = (*JPEG, *PPM, ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
ENOUGH_FOR_A_BAR = 2000  # files
VERSION = 2  # of what becomes of an image
GROUP_BYTES = 2**21  # of decoded images, which a process makes and writes at a time, at most
GROUPS_EACH = 8  # for each process, at least, so that all end at about the same time
EXIF_IN_INFO = ("PNG", "JPEG", "WEBP", "BMP", "PPM")  # formats of which `info` has a key if there are such data
EXIF = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
FIRST = 5  # of the files that cannot be read, which are named
Shape = tuple[int, ...]


class UnreadableImageError(ValueError):
    """A file is no whole image of a kind that is known."""


class ArrayFile:
    """An array in a .npy file, which stays what it is when a new one takes the place of the file.

    Args:
        path: The file; its first axis counts images, its values are uint8.

    Attributes:
        array: The whole, memory-mapped and private: what is written to it is not saved.
        unreadable: The files that could not be read, by their places in the array, which are black.
    """

    def __init__(self, path: Path, unreadable: Mapping[int, str] | None = None) -> None:
        self.unreadable = dict(unreadable or {})
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
        file: Array that `decode_to_file` has written. Shape (N, C, H, W), uint8.
        labels: Shape (N,), int64.
        indices: See TensorImages.
    """

    def __init__(self, file: ArrayFile, labels: Tensor, indices: Tensor | None = None) -> None:
        super().__init__(torch.from_numpy(file.array), labels, indices)
        self._file = file

    def __getitems__(self, indices: list[int]) -> Batch:
        """Fetch a batch: images (B, C, H, W) uint8 and labels (B,)."""
        index = self.indices[torch.tensor(indices)]
        return self._sized(torch.from_numpy(self._file.read(index.tolist()))), self._labels[index]


def decode_to_file(
    files: Sequence[Path],
    cache: Path,
    image_size: int | None = None,
    shape: Shape | None = None,
    max_unreadable: float = 0.0,
) -> ArrayFile:
    """Decode image files to RGB, or open the array that an earlier call has left.

    Photographs are turned upright as their Exif data say. Grey levels and palettes become RGB, CMYK too (by Pillow's
    formula, without a colour profile). Of 16-bit grey levels the high byte is taken. Transparency is ignored, as
    torchvision's ImageFolder does: a pixel has its stored colour. Of several frames in a file, as in an animated GIF,
    the first is taken.

    The array carries a fingerprint of the files (their names and `state`) and of itself; it is made anew when either
    differs. One process has it made, by as many as there are cores; others wait. Nothing
    that looks like a whole array is there before it is one. Where it cannot be written, it is made at each call.

    Args:
        files: At least one.
        cache: Where the array is kept, without its suffix; the note beside it (`.txt`) lists what cannot be read.
        image_size: Side of the square that images are scaled to cover (bilinear) and cut to around their middle.
        shape: Channels, height and width that all images must have; those of the first if not given.
        max_unreadable: Share of files that may be unreadable; they are named in a warning.

    Returns:
        Shape (N, 3, H, W), uint8.

    Raises:
        UnreadableImageError: If more files are no whole images; names the first.
        ValueError: If an image is of another size; names it.
        OSError: If there is no room for the array; says how much it needs.
    """
    fingerprint = _fingerprint(files, cache.parent, image_size)
    array, note = cache.with_name(f"{cache.name}.npy"), cache.with_name(f"{cache.name}.txt")
    if not os.access(cache.parent, os.W_OK):
        rank_zero_warn(f"{cache.parent} cannot be written to, so its images are decoded at each start")
        with TemporaryDirectory() as folder:
            unreadable = _build(Path(folder) / array.name, files, image_size, shape)
            _require_readable(unreadable, len(files), max_unreadable)
            return ArrayFile(Path(folder) / array.name, unreadable)  # what is open outlives its name
    with FileLock(cache.with_name(f"{cache.name}.lock")):
        kept = _kept(array, note, fingerprint)
        if kept is None:
            note.unlink(missing_ok=True)
            unfinished = array.with_suffix(".partial.npy")
            try:
                kept = _build(unfinished, files, image_size, shape)
                _require_readable(kept, len(files), max_unreadable, f"; all of them are in {note}")
                os.replace(unfinished, array)
            finally:
                unfinished.unlink(missing_ok=True)
            note.write_text(f"{_stamp(fingerprint, array)}\n{json.dumps(kept, indent=0)}\n")
        else:
            _require_readable(kept, len(files), max_unreadable, f"; all of them are in {note}")
        return ArrayFile(array, kept)


def _kept(array: Path, note: Path, fingerprint: str) -> dict[int, str] | None:
    """Read which files are unreadable in the array of an earlier call; None if it is not that of these files."""
    try:
        stamp, _, unreadable = note.read_text().partition("\n")
        if stamp != _stamp(fingerprint, array):
            return None
        return {int(place): said for place, said in json.loads(unreadable).items()}
    except (OSError, ValueError):  # not there, or cut short
        return None


def _require_readable(unreadable: Mapping[int, str], count: int, share: float, where: str = "") -> None:
    """Name what cannot be read.

    Raises:
        UnreadableImageError: If it is more than that share.
    """
    if not unreadable:
        return
    said = list(unreadable.values())
    more = f"; {len(said)} of {count:,} files are unreadable" if len(said) > 1 else ""
    if len(said) > share * count:
        raise UnreadableImageError(said[0] + more + (f", more than a share of {share}" if share else ""))
    rank_zero_warn(f"{len(said)} of {count:,} files are left out: {'; '.join(said[:FIRST])}{where}")


def _fingerprint(files: Sequence[Path], base: Path, image_size: int | None) -> str:
    relative = functools.cache(lambda folder: os.path.relpath(folder, base))  # slower than all else here
    states = [state(file.stat()) for file in files]
    names = [(relative(os.path.dirname(file)), file.name) for file in files]
    stamps = [(*name, *each) for name, each in zip(names, states, strict=True)]
    return hashlib.sha256(json.dumps([VERSION, image_size, stamps]).encode()).hexdigest()[:16]


def _stamp(fingerprint: str, array: Path) -> str:
    return " ".join(map(str, [fingerprint, *state(array.stat())]))


def _build(path: Path, files: Sequence[Path], image_size: int | None, shape: Shape | None) -> dict[int, str]:
    """Decode into a new .npy file, whose space is reserved first; give what could not be read, by its place."""
    allowed = "all must have {} x {}"
    if shape is None:
        first, shape = _first_shape(files, image_size)
        allowed = f"{first} {{}} x {{}}; give data.image_size"
    allowed = allowed.format(shape[2], shape[1])
    image_bytes = math.prod(shape)
    workers, count = os.cpu_count() or 1, max(1, GROUP_BYTES // image_bytes)
    if len(files) > count:
        count = min(count, math.ceil(len(files) / (GROUPS_EACH * workers)))
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
            return fill(start, files)
        # Processes, since a small file keeps Python's lock for half of its time; copies of this one, where it can be.
        context = get_context("fork" if "fork" in get_all_start_methods() else None)
        with ProcessPoolExecutor(min(workers, len(groups)), context, _follow_parent) as pool:
            done = pool.map(fill, offsets, groups)
            few = len(files) < ENOUGH_FOR_A_BAR
            found = list(track(done, "decoding images", len(groups), disable=few, transient=True))
        return {number * count + place: said for number, each in enumerate(found) for place, said in each.items()}
    except OSError as error:
        need = f"{len(files) * image_bytes / 1e6:,.0f} MB"
        raise OSError(f"{path.parent}: the decoded images need {need} there, but {error.strerror or error}") from error


def _first_shape(files: Sequence[Path], image_size: int | None) -> tuple[Path, Shape]:
    """Find the first file that can be read, and the shape that it has.

    Raises:
        UnreadableImageError: If there is none; of the first file.
    """
    errors = []
    for file in files:
        try:
            return file, _read(file, image_size).shape
        except UnreadableImageError as error:
            errors.append(error)
    raise errors[0]


def _follow_parent() -> None:
    """Let a worker end when its parent is killed; it would wait for work for ever, and hold the lock."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _fill(
    path: Path, image_size: int | None, shape: Shape, allowed: str, offset: int, files: Sequence[Path]
) -> dict[int, str]:
    """Decode a group of files to its place in the array's file; give what could not be read, by its place in it."""
    images = np.zeros((len(files), *shape), np.uint8)
    unreadable = {}
    for place, (image, file) in enumerate(zip(images, files, strict=True)):
        try:
            pixels = _read(file, image_size)
        except UnreadableImageError as error:
            unreadable[place] = str(error)
            continue
        if pixels.shape != shape:
            raise ValueError(f"{file} has {pixels.shape[2]} x {pixels.shape[1]} pixels and {allowed}")
        image[:] = pixels
    with open(path, "r+b") as out:
        out.seek(offset)
        out.write(images.data)
    return unreadable


def _read(file: Path, image_size: int | None) -> np.ndarray:
    size = None if image_size is None else (image_size, image_size)
    return np.asarray(open_rgb(file, size)).transpose(2, 0, 1)


def open_rgb(file: Path, size: tuple[int, int] | None) -> Image.Image:
    """Decode an image file, see `decode_to_file`.

    Args:
        file: The file.
        size: Width and height that the image is scaled to cover, and cut to around its middle; its own if not given.

    Raises:
        UnreadableImageError: If it is no whole image.
    """
    try:
        with Image.open(file) as opened:
            image: Image.Image = opened
            if size is not None:
                # A JPEG is decoded at a size near twice that, which is much faster for a photograph.
                image.draft("RGB", (2 * size[0], 2 * size[1]))
            image.load()
            if image.format not in EXIF_IN_INFO or not EXIF.isdisjoint(image.info):  # else it costs more than decoding
                image = ImageOps.exif_transpose(image)
            rgb = to_rgb(image)
            return rgb if size is None else ImageOps.fit(rgb, size, Image.Resampling.BILINEAR)
    except Exception as error:  # each of Pillow's formats raises other kinds
        raise UnreadableImageError(f"{file} is no image that can be read: {error}") from error


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
