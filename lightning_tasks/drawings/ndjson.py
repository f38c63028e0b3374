"""Files of drawings as the Quick, Draw! data set has them: a JSON object a line.

Format: https://github.com/googlecreativelab/quickdraw-dataset. Simplified strokes are [[x ...], [y ...]] in 0 ... 255;
raw ones are [[x ...], [y ...], [t ...]] in pixels and milliseconds, and are simplified here.
"""

import re
from collections.abc import Iterable
from itertools import chain, groupby, islice
from typing import Annotated

import msgspec
import numpy as np

from lightning_tasks.drawings.collection import UNKNOWN, BadLines, Collection, from_points, join
from lightning_tasks.drawings.simplify import simplify

FARTHEST = 1e5  # pixels; no screen has more
CHUNK = 4096  # lines that are Python objects at a time

_Number = Annotated[float, msgspec.Meta(ge=-FARTHEST, le=FARTHEST)]
_Axis = Annotated[list[_Number], msgspec.Meta(min_length=2)]
_Stroke = Annotated[list[_Axis], msgspec.Meta(min_length=2, max_length=3)]


class _Line(msgspec.Struct, gc=False):
    drawing: Annotated[list[_Stroke], msgspec.Meta(min_length=1)]
    word: str | None = None
    recognized: bool | None = None

    @property
    def is_raw(self) -> bool:
        return len(self.drawing[0]) == 3


# What msgspec says of a line, in the order asked, and what we do.
_REASONS = (
    (r"truncated|malformed|trailing|utf-8|Expected `object`", "no whole JSON object"),
    (r"required field `drawing`|length >= 1 - at `\$\.drawing`", "no strokes"),
    (r"length >= 2 - at `\$\.drawing\[\d+\]\[\d+\]`", "a stroke of fewer than two points"),
    (r"out of range|[<>]= -?100000", f"coordinates beyond {FARTHEST:,.0f} or not finite"),
    (r"Expected `float`", "coordinates that are no numbers"),
    (r"\$\.drawing", "strokes that are not [[x ...], [y ...]]"),
)


def parse(lines: Iterable[bytes], word: str) -> tuple[Collection, BadLines]:
    """Read the drawings of a word; a few thousand lines are in memory at a time.

    Args:
        lines: Lines of the file, in UTF-8.
        word: Word whose drawings the file should hold.

    Returns:
        The drawings of the good lines, and what is wrong with the others.
    """
    decoder = msgspec.json.Decoder(_Line)
    bad = BadLines()
    parts = []
    lines = iter(lines)
    while chunk := list(islice(lines, CHUNK)):
        good = []
        for line in chunk:
            bad.lines += 1
            try:
                decoded = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                bad.add(_reason(line, error), bad.lines)
                continue
            if decoded.word is not None and decoded.word != word:
                bad.add("another word", bad.lines)
            elif not _even(decoded.drawing):
                bad.add("x and y of unequal length", bad.lines)
            else:
                good.append(decoded)
        parts += [_collect(list(alike), is_raw) for is_raw, alike in groupby(good, lambda each: each.is_raw)]
    return join(parts), bad


def _even(drawing: list[list[list[float]]]) -> bool:
    axes = len(drawing[0])
    for stroke in drawing:  # noqa: SIM110  # a generator takes twice as long
        if len(stroke[0]) != len(stroke[1]) or len(stroke) != axes:
            return False
    return True


def _reason(line: bytes, error: Exception) -> str:
    if not line.strip():
        return "empty"
    if re.search(rb"[\[,]\s*-?(NaN|Infinity)", line):  # which Python's json writes, and JSON does not have
        return _REASONS[3][1]
    return next((plain for pattern, plain in _REASONS if re.search(pattern, str(error))), "fields of another kind")


def _collect(lines: list[_Line], is_raw: bool) -> Collection:
    drawings = np.fromiter((len(each.drawing) for each in lines), np.int64, len(lines))
    all_strokes = list(chain.from_iterable(each.drawing for each in lines))
    strokes = np.fromiter((len(each[0]) for each in all_strokes), np.int64, len(all_strokes))
    axes = (chain.from_iterable(each[axis] for each in all_strokes) for axis in (0, 1))
    points = np.stack([np.fromiter(axis, np.float64, strokes.sum()) for axis in axes], axis=1)
    if is_raw:
        points, strokes = simplify(points, strokes, drawings)
    recognized = np.array([UNKNOWN if each.recognized is None else each.recognized for each in lines], np.int8)
    return Collection(*from_points(points, strokes, drawings), recognized)
