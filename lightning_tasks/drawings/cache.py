"""Drawings of a file, parsed once and kept as arrays beside it."""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
from filelock import FileLock

from lightning_tasks.drawings.collection import ARRAYS, BadLines, Collection
from lightning_tasks.drawings.ndjson import parse
from lightning_tasks.drawings.npz import read_npz
from lightning_tasks.runs.atomic_writes import write_atomic

FORMAT = 1  # to be raised whenever other arrays are made of the same file


def read_file(path: Path, word: str) -> tuple[Collection, BadLines]:
    """Read a file of drawings, or the arrays that an earlier call has left.

    The arrays carry a fingerprint of the file's content and are made anew when that differs or they are damaged. One
    process makes them, others wait; a kill leaves at most a partial file, which the next call overwrites. Where they
    cannot be written, the file is parsed at each call.

    Args:
        path: `.ndjson`, simplified or raw, or `.npz` of Sketch-RNN.
        word: Word whose drawings it should hold.

    Returns:
        Its drawings, and the lines that were skipped.

    Raises:
        ValueError: If a .npz is damaged or unsafe.
    """
    cache = path.with_name(f".{path.name}.cache.npz")
    with open(path, "rb") as file:
        fingerprint = f"{FORMAT}:{word}:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if not os.access(path.parent, os.W_OK):
        return _load(cache, fingerprint) or _parse(path, word)
    with FileLock(path.parent / ".cache.lock"):
        if kept := _load(cache, fingerprint):
            return kept
        drawings, bad = _parse(path, word)
        notes = json.dumps([fingerprint, bad.lines, bad.found])
        content = io.BytesIO()
        np.savez(content, notes=np.array(notes), **{name: getattr(drawings, name) for name in ARRAYS})
        write_atomic(cache, content.getbuffer())
        return drawings, bad


def _load(cache: Path, fingerprint: str) -> tuple[Collection, BadLines] | None:
    """Read arrays that were made of the same file; None if there are none, or damaged ones."""
    try:
        with np.load(cache, allow_pickle=False) as arrays:
            found, lines, bad = json.loads(str(arrays["notes"]))
            if found == fingerprint:
                return Collection(*(arrays[name] for name in ARRAYS)), BadLines(lines, bad)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    return None


def _parse(path: Path, word: str) -> tuple[Collection, BadLines]:
    if path.suffix == ".npz":  # which does not name its word
        drawings = read_npz(path)
        return drawings, BadLines(lines=len(drawings))
    with open(path, "rb") as file:
        return parse(file, word)
