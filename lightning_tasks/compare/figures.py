"""The plots of runs, made small enough for one page."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image

SIDES = (1200, 900, 700, 500, 350)  # pixels that the longer side has at most
QUALITY = 80  # of WebP, from 0 to 100
Figures = dict[str, dict[int, Path]]  # the file of each figure, by its name and the run's place


class Embedded(NamedTuple):
    """Figures for a page.

    Attributes:
        uris: A `data:` URI for each file that has found room.
        scaled: Pixels that the longer side has at most, by the name of the figures that had to be scaled down.
        left_out: Files for which there is no room.
        unreadable: Files that hold no figure.
    """

    uris: dict[Path, str]
    scaled: dict[str, int]
    left_out: list[Path]
    unreadable: list[Path]


def embed(figures: Figures, room: int) -> Embedded:
    """Encode figures as WebP; those of one name get the same size, and the name that takes most room is scaled first.

    Args:
        figures: Files of figures. If they do not fit at their least size, the last ones are left out.
        room: Bytes for all `data:` URIs together.
    """
    levels = dict.fromkeys(figures, 0)
    unreadable: list[Path] = []
    encoded = {name: _encode_all(runs, SIDES[0], unreadable) for name, runs in figures.items()}
    while sum(map(_size, encoded.values())) > room:
        can = [name for name, level in levels.items() if level + 1 < len(SIDES)]
        if not can:
            break
        heaviest = max(can, key=lambda name: _size(encoded[name]))
        levels[heaviest] += 1
        encoded[heaviest] = _encode_all(figures[heaviest], SIDES[levels[heaviest]], [])
    uris: dict[Path, str] = {}
    left_out: list[Path] = []
    for path, uri in (each for uris_of_name in encoded.values() for each in uris_of_name.items()):
        if left_out or len(uri) > room:
            left_out.append(path)
        else:
            uris[path] = uri
            room -= len(uri)
    return Embedded(uris, {name: SIDES[level] for name, level in levels.items() if level}, left_out, unreadable)


def _encode_all(runs: Mapping[int, Path], side: int, unreadable: list[Path]) -> dict[Path, str]:
    """Encode the figures of one name; files that hold none are added to `unreadable`."""
    uris = {}
    for path in runs.values():
        try:
            uris[path] = f"data:image/webp;base64,{base64.b64encode(_encode(path, side)).decode()}"
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow says of damaged files
            unreadable.append(path)
    return uris


def _encode(path: Path, side: int) -> bytes:
    """Give a figure as WebP of at most so many pixels a side, on white."""
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
    rgba.thumbnail((side, side), Image.Resampling.LANCZOS)
    white = Image.new("RGBA", rgba.size, "white")
    content = io.BytesIO()
    Image.alpha_composite(white, rgba).convert("RGB").save(content, "WEBP", quality=QUALITY)
    return content.getvalue()


def _size(uris: Mapping[Path, str]) -> int:
    return sum(map(len, uris.values()))
