"""Drawings as strokes and as steps of a pen.

A drawing is a list of strokes, each an array of points (n, 2), float32, x to the right and y downwards. Sequence models
see it as steps (N, 3), float32: the offset (dx, dy) from the point before, and the state of the pen after the step (Ha
and Eck 2018, "A Neural Representation of Sketch Drawings", https://arxiv.org/abs/1704.03477, section 3.1). The first
point is where the pen starts, so a drawing of N points has N - 1 steps, and its place on the paper is not told.
"""

from collections.abc import Iterable
from enum import IntEnum

import numpy as np

Drawing = list[np.ndarray]


class Pen(IntEnum):
    """State of the pen after a step."""

    DOWN = 0  # the next step draws a line
    LIFT = 1  # the next step moves the pen through the air
    END = 2  # the drawing is finished; the offset means nothing


def to_steps(drawing: Iterable[np.ndarray]) -> np.ndarray:
    """Turn strokes into steps.

    Args:
        drawing: Strokes of one or more points (n, 2).

    Returns:
        Steps (N - 1, 3), float32, for N points; the last one lifts the pen. There is no END among them.

    Raises:
        ValueError: If there are fewer than two points, which leave nothing to draw.
    """
    strokes = [np.asarray(stroke, dtype=np.float32).reshape(-1, 2) for stroke in drawing]
    points = np.concatenate(strokes) if strokes else np.zeros((0, 2), np.float32)
    if len(points) < 2:
        raise ValueError(f"a drawing needs at least two points, got {len(points)}")
    steps = np.zeros((len(points), 3), dtype=np.float32)
    steps[1:, :2] = np.diff(points, axis=0)
    steps[np.cumsum([len(stroke) for stroke in strokes]) - 1, 2] = Pen.LIFT
    return steps[1:]


def to_drawing(steps: np.ndarray, origin: tuple[float, float] = (0.0, 0.0)) -> Drawing:
    """Turn steps into strokes; what comes after an END is left out.

    Args:
        steps: Shape (N, 3).
        origin: Start of the pen.

    Returns:
        Strokes (n, 2), float32. Steps through the air leave strokes of a single point out.
    """
    ends = np.flatnonzero(steps[:, 2] == Pen.END)
    steps = steps[: ends[0]] if len(ends) else steps
    points = np.cumsum(np.concatenate([[origin], steps[:, :2]]), axis=0, dtype=np.float64).astype(np.float32)
    lifts = np.flatnonzero(steps[:, 2] == Pen.LIFT) + 2
    return [stroke for stroke in np.split(points, lifts) if len(stroke) > 1]
