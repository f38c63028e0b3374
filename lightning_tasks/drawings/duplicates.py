"""Drawings that are nearly the same."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lightning_tasks.drawings.collection import Collection
from lightning_tasks.drawings.steps import Pen

POINTS = 32  # of a descriptor
RADIUS = 0.02  # root mean square distance of two paths' points, as a share of a drawing's longer side
PRINCIPAL_AXES = 6  # of the first search: 120,000 drawings take 1 s, and 100 s with all 64 coordinates
CHUNK = 20_000  # drawings at a time


def near_duplicates(drawings: Collection, radius: float = RADIUS) -> np.ndarray:
    """Group drawings whose paths nearly coincide, also by way of others.

    Args:
        drawings: N of them, of whatever words.
        radius: See RADIUS.

    Returns:
        Number of the group of each drawing, 0 ... groups - 1. Shape (N,).
    """
    paths = np.concatenate([descriptors(drawings.select(some)) for some in _chunks(np.arange(len(drawings)))])
    pairs = _pairs(paths, radius * POINTS**0.5)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(paths), len(paths)))
    return connected_components(graph, directed=False)[1]


def _pairs(paths: np.ndarray, distance: float) -> np.ndarray:
    """Find all pairs of rows (N, D) that are at most so far apart; exact. Shape (pairs, 2).

    A projection brings no two rows further apart, so a tree of few dimensions finds all of them, and some more.
    """
    centred = paths - paths.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    pairs = cKDTree(centred @ axes[:, -PRINCIPAL_AXES:]).query_pairs(distance * (1 + 1e-9), output_type="ndarray")
    near = [np.linalg.norm(paths[some[:, 0]] - paths[some[:, 1]], axis=1) <= distance for some in _chunks(pairs)]
    return pairs[np.concatenate([np.zeros(0, bool), *near])]


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[low : low + CHUNK] for low in range(0, len(rows), CHUNK)]


def descriptors(drawings: Collection) -> np.ndarray:
    """Describe each drawing by points at equal distances along its ink, within its box.

    Moves through the air take no share of the points: they are not to be seen, and a pen that is lifted for a moment
    more or less should change nothing. They do keep strokes in their places.

    Args:
        drawings: N of them.

    Returns:
        x and y of each point, of the longer side of the box. Shape (N, 2 * POINTS), float64.
    """
    counts = drawings.counts + 1  # of points, the first of each drawing at 0
    ends = np.cumsum(counts) - 1
    firsts = ends - counts + 1
    steps = np.zeros((counts.sum(), 3))
    steps[np.delete(np.arange(len(steps)), firsts)] = drawings.steps
    points = np.cumsum(steps[:, :2], axis=0)
    ink = np.hypot(*steps[:, :2].T)
    ink[1:][steps[:-1, 2] == Pen.LIFT] = 0.0
    ink[firsts[1:]] = 1.0  # from drawing to drawing, so that places along all of them never fall together
    place = np.cumsum(ink)
    wanted = np.linspace(place[firsts], place[ends], POINTS, axis=1)
    paths = np.stack([np.interp(wanted.ravel(), place, axis).reshape(wanted.shape) for axis in points.T], axis=2)
    low, high = np.minimum.reduceat(points, firsts), np.maximum.reduceat(points, firsts)
    side = np.maximum((high - low).max(axis=1), 1e-6)
    return ((paths - low[:, None]) / side[:, None, None]).reshape(len(drawings), -1)
