"""Sketch-RNN's .npz files, read without running what a pickle may hold."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lightning_tasks.drawings.collection import UNKNOWN, Collection, from_points, starts_of

PARTS = ("train", "valid", "test")
# All that arrays of arrays of numbers need, as numpy 1 and 2 under Python 2 and 3 name it.
_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise ValueError(f"a pickle in it asks for {module}.{name}, which arrays of numbers do not need")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_npz(path: Path) -> Collection:
    """Read the drawings of a word, those of train, valid and test one after the other.

    Format: https://github.com/magenta/magenta/tree/main/magenta/models/sketch_rnn#datasets. Each part is an array of
    arrays (n, 3), int16: offset to the next point, and whether the pen is lifted after it. The first row moves the pen
    to where it starts, so it is no step.

    Args:
        path: The file; its arrays may have been pickled by Python 2.

    Raises:
        ValueError: If it is damaged, holds anything but such arrays, or a pickle that could do more than hold numbers.
    """
    drawings: list[np.ndarray] = []
    try:
        with zipfile.ZipFile(path) as archive:
            for part in PARTS:
                drawings += _read_part(archive.read(f"{part}.npy"))
        for index, drawing in enumerate(drawings):
            _check(drawing, f"drawing {index + 1}")
    except (KeyError, EOFError, OSError, zipfile.BadZipFile, pickle.UnpicklingError, ValueError) as error:
        raise ValueError(f"{path} is not a file of Sketch-RNN's drawings: {str(error).strip(chr(34))}") from error
    counts = np.array([len(drawing) for drawing in drawings])
    rows = np.concatenate(drawings).astype(np.float32)
    starts = starts_of(counts)
    rows[starts[1:] - 1, 2] = 1
    lifts = np.flatnonzero(rows[:, 2])
    strokes = np.diff(lifts, prepend=-1)
    strokes_of_drawings = np.diff(np.searchsorted(lifts, starts))
    steps, starts = from_points(np.cumsum(rows[:, :2], axis=0, dtype=np.float64), strokes, strokes_of_drawings)
    return Collection(steps, starts, np.full(len(drawings), UNKNOWN, np.int8))


def _read_part(content: bytes) -> list[np.ndarray]:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = read_header(file)
    if not dtype.hasobject:
        file.seek(0)
        return list(np.lib.format.read_array(file, allow_pickle=False))  # all drawings of one length
    array = _ArrayUnpickler(file, encoding="latin1").load()
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{type(array).__name__} in the place of an array")
    return list(array)


def _check(drawing: Any, name: str) -> None:
    """Refuse what is no array of two or more steps."""
    if not isinstance(drawing, np.ndarray) or drawing.dtype.kind not in "iuf" or drawing.ndim != 2:
        raise ValueError(f"{name} is no array of numbers (n, 3)")
    if drawing.shape[1] != 3 or len(drawing) < 2:
        raise ValueError(f"{name} has shape {drawing.shape}; (n, 3) with two points or more is allowed")
    if not np.isfinite(drawing).all() or not np.isin(drawing[:, 2], (0, 1)).all():
        raise ValueError(f"{name} has numbers that are not finite, or a pen that is neither 0 nor 1")
