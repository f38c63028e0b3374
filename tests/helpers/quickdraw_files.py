"""Small files in the official format."""

import json

import numpy as np

SMALL = [[[0, 30, 255], [10, 0, 90]], [[200, 210], [50, 55]]]
SMALL_STEPS = [[30, -10, 0], [225, 90, 1], [-55, -40, 0], [10, 5, 1]]


def line(drawing=SMALL, word="cat", **fields):
    return json.dumps({"word": word, "drawing": drawing, **fields}, separators=(",", ":")) + "\n"


def scribbles(count, seed, longest=12):
    """Drawings of one stroke of 3 to `longest` points, and one of two, all different."""
    random = np.random.default_rng(seed)
    sizes = random.integers(3, longest + 1, count)
    return [[random.integers(0, 256, (2, size)).tolist(), random.integers(0, 256, (2, 2)).tolist()] for size in sizes]


def write(root, words, count=40, **fields):
    folder = root / "quickdraw"
    folder.mkdir(parents=True, exist_ok=True)
    for seed, word in enumerate(words):
        lines = [
            line(each, word, key_id=str(seed * 1000 + n), **fields) for n, each in enumerate(scribbles(count, seed))
        ]
        (folder / f"{word}.ndjson").write_text("".join(lines))
    return folder
