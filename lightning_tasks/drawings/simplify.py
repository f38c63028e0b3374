"""Drawings in pixels of somebody's screen, simplified as the official files are."""

import numpy as np
import shapely

from lightning_tasks.drawings.collection import starts_of

SIDE = 255.0  # drawing units of the longer side of a simplified drawing
SPACING = 1.0  # drawing units between points before they are thinned out
EPSILON = 2.0  # drawing units that a line may miss a point by


def simplify(points: np.ndarray, strokes: np.ndarray, drawings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale, resample and thin out the strokes of many drawings.

    The four steps of https://github.com/googlecreativelab/quickdraw-dataset#preprocessed-dataset: align to the top left
    at 0, scale both axes alike to a maximum of 255, resample at a spacing of 1, Ramer-Douglas-Peucker with an epsilon
    of 2.0. The result is rounded to whole units, as in the official files.

    Args:
        points: Points in pixels. Shape (P, 2).
        strokes: Number of points of each stroke, 2 or more. Shape (S,).
        drawings: Number of strokes of each drawing, 1 or more. Shape (N,).

    Returns:
        Points (Q, 2), float32, in drawing units, and number of points of each stroke (S,).
    """
    sizes = np.add.reduceat(strokes, starts_of(drawings)[:-1])
    first = starts_of(sizes)[:-1]
    low, high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    scale = SIDE / np.maximum((high - low).max(axis=1), 1e-6)
    points = (points - np.repeat(low, sizes, axis=0)) * np.repeat(scale, sizes)[:, None]
    points, strokes = _resample(points, strokes)
    lines = shapely.linestrings(points, indices=np.repeat(np.arange(len(strokes)), strokes))
    thinned = shapely.simplify(lines, EPSILON, preserve_topology=False)
    return shapely.get_coordinates(thinned).round().astype(np.float32), shapely.get_num_coordinates(thinned)


def _resample(points: np.ndarray, strokes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place points at a spacing of 1 along each stroke, and one at its end."""
    ends = np.cumsum(strokes)
    leaps = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    leaps[ends[:-1]] = SPACING  # from stroke to stroke, so that places along all of them never fall together
    place = np.cumsum(leaps)
    begin, end = place[ends - strokes], place[ends - 1]
    counts = ((end - begin) / SPACING).astype(np.int64) + 2
    starts = starts_of(counts)
    wanted = (np.arange(starts[-1]) - np.repeat(starts[:-1], counts)) * SPACING + np.repeat(begin, counts)
    wanted = np.minimum(wanted, np.repeat(end, counts))
    return np.stack([np.interp(wanted, place, axis) for axis in points.T], axis=1), counts
