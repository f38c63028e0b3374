"""Many drawings in flat arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from lightning_tasks.drawings.steps import Pen

NAMED = 3  # bad lines of a kind
UNKNOWN = -1  # of a field that a file does not have


@dataclass(frozen=True)
class Collection:
    """Drawings one after the other, as steps of a pen.

    Attributes:
        steps: Steps of all drawings as drawings.to_steps makes them, without END, in drawing units: the longer side of
            a drawing is 255. Shape (total, 3), float32.
        starts: Start of each drawing among them, then the end of the last. Shape (N + 1,), int64.
        recognized: Whether the game guessed the drawing: 1, 0, or -1 where that is not known. Shape (N,), int8.
    """

    steps: np.ndarray
    starts: np.ndarray
    recognized: np.ndarray

    def __len__(self) -> int:
        return len(self.recognized)

    @property
    def counts(self) -> np.ndarray:
        """Number of steps of each drawing. Shape (N,), int64."""
        return np.diff(self.starts)

    def select(self, indices: np.ndarray) -> "Collection":
        """Copy some drawings, in the order of the indices (M,)."""
        counts = self.counts[indices]
        starts = starts_of(counts)
        rows = np.repeat(self.starts[indices] - starts[:-1], counts) + np.arange(starts[-1])
        return Collection(self.steps[rows], starts, self.recognized[indices])


def starts_of(counts: np.ndarray) -> np.ndarray:
    """Say where runs of so many rows start when laid end to end, and where the last ends. Shape (N + 1,), int64."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def join(parts: Sequence[Collection]) -> Collection:
    """Put collections one after the other."""
    starts = starts_of(np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)]))
    steps = np.concatenate([np.zeros((0, 3), np.float32), *(part.steps for part in parts)])
    recognized = np.concatenate([np.zeros(0, np.int8), *(part.recognized for part in parts)])
    return Collection(steps, starts, recognized)


def from_points(points: np.ndarray, strokes: np.ndarray, drawings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the points of many drawings into steps, as drawings.to_steps does for one.

    Args:
        points: All points. Shape (P, 2).
        strokes: Number of points of each stroke, 1 or more. Shape (S,).
        drawings: Number of strokes of each drawing, 1 or more. Shape (N,).

    Returns:
        `steps` and `starts` of a Collection.
    """
    ends = np.cumsum(strokes)
    steps = np.zeros((len(points), 3), np.float32)
    steps[1:, :2] = np.diff(points, axis=0)
    steps[ends - 1, 2] = Pen.LIFT
    last_points = ends[np.cumsum(drawings) - 1]
    first_points = np.concatenate([[0], last_points[:-1]])
    return np.delete(steps, first_points, axis=0), starts_of(last_points - first_points - 1)


@dataclass
class BadLines:
    """Lines of a file that were skipped.

    Attributes:
        lines: Number of lines of the file.
        found: Numbers of the bad ones, from 1, by what is wrong with them.
    """

    lines: int = 0
    found: dict[str, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.found.values()))

    def add(self, reason: str, line: int) -> None:
        """Note a bad line."""
        self.found.setdefault(reason, []).append(line)


def describe(files: Mapping[str, BadLines]) -> str:
    """Say in one line what is wrong with some files, by name, and where first."""
    places: dict[str, list[str]] = {}
    for name, bad in files.items():
        for reason, lines in bad.found.items():
            places.setdefault(reason, []).extend(f"{name}:{line}" for line in lines)
    return "; ".join(
        f"{len(found)} {reason} ({', '.join(found[:NAMED])}{', ...' if len(found) > NAMED else ''})"
        for reason, found in places.items()
    )


ARRAYS = tuple(each.name for each in fields(Collection))


def of_steps(drawings: Sequence[np.ndarray]) -> Collection:
    """Collect drawings that come from no file, each as steps (N, 3); an END is left out."""
    kept = [steps[steps[:, 2] != Pen.END] for steps in drawings]
    steps = np.concatenate([np.zeros((0, 3), np.float32), *kept])
    starts = starts_of(np.array([len(each) for each in kept], np.int64))
    return Collection(steps, starts, np.full(len(kept), UNKNOWN, np.int8))
