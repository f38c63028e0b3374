"""One page that replays drawings stroke by stroke, with all that it needs in one file."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from lightning_tasks.drawings.steps import Drawing

PARTS = Path(__file__).parent / "web"


class Sketch(NamedTuple):
    """A drawing and how it came about.

    Attributes:
        drawing: Strokes (n, 2).
        word: Word that it shows.
        temperature: Sampling temperature.
        mode: "generate", from the word alone, or "reconstruct", after a real drawing.
    """

    drawing: Drawing
    word: str
    temperature: float
    mode: Literal["generate", "reconstruct"]


def write_page(path: Path, sketches: Iterable[Sketch]) -> None:
    """Write the page.

    Args:
        path: The file, as `sketches.html`.
        sketches: Sketches in their order on the page.
    """
    data = [
        {
            "strokes": [stroke.astype(float).round(1).tolist() for stroke in each.drawing],
            "word": each.word,
            "label": label(each),
        }
        for each in sketches
    ]
    # As JSON, "<" can stand in strings only; escaped, it ends no script element.
    parts = {"sketches": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")}
    parts |= {name: (PARTS / name).read_text(encoding="utf-8") for name in ("page.css", "strokes.js", "replay.js")}
    template = (PARTS / "replay.html").read_text(encoding="utf-8")
    page = re.sub(r"\{\{(.+?)\}\}", lambda place: parts[place[1]], template)
    Path(path).write_text(page, encoding="utf-8")


def label(sketch: Sketch) -> str:
    """Say how a drawing came about."""
    how = "reconstructed, " if sketch.mode == "reconstruct" else ""
    return f"{how}temperature {sketch.temperature:g}"
