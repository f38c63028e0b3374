"""Drawings as animated GIFs, stroke by stroke."""

from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw

from lightning_tasks.drawings.render import OVERSAMPLING
from lightning_tasks.drawings.steps import Drawing
from lightning_tasks.drawings.svg import LINE_WIDTH, square

MAX_FRAMES = 60
FRAME_MS = 50
HOLD_MS = 2000  # of the last frame


def write_gif(path: Path, drawing: Drawing, size: int) -> None:
    """Write a file that draws the lines one after the other, black on white, again and again.

    A short drawing grows by one line in each frame, a long one by several, so that it takes three seconds at most.

    Args:
        path: The file.
        drawing: Strokes (n, 2), in any unit.
        size: Pixels of a side.
    """
    left, top, side = square(drawing)
    scale = size * OVERSAMPLING / side
    width = round(LINE_WIDTH * size * OVERSAMPLING)
    places = [[((x - left) * scale, (y - top) * scale) for x, y in stroke.tolist()] for stroke in drawing]
    lines = [line for stroke in places for line in pairwise(stroke)]
    lines_a_frame = max(1, -(-len(lines) // MAX_FRAMES))
    sheet = Image.new("L", (size * OVERSAMPLING,) * 2, "white")
    pen = ImageDraw.Draw(sheet)
    frames = []
    for number, line in enumerate(lines, 1):
        pen.line(line, fill="black", width=width)
        for x, y in line:  # round ends
            pen.circle((x, y), width / 2 - 1, fill="black")
        if number % lines_a_frame == 0 or number == len(lines):
            frames.append(sheet.reduce(OVERSAMPLING))
    frames = frames or [sheet.reduce(OVERSAMPLING)]
    durations = [FRAME_MS] * (len(frames) - 1) + [HOLD_MS]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)
