"""A trained sketch network, ready to draw for people."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import shapely
import torch
from torch import Tensor

from lightning_tasks.drawings.batch import SketchBatch
from lightning_tasks.drawings.simplify import EPSILON
from lightning_tasks.drawings.steps import Pen, to_steps
from lightning_tasks.runs.checkpoints import find_checkpoint, read_task_checkpoint
from lightning_tasks.sketch.task import SketchTask


class Point(NamedTuple):
    """A place of the pen, in the units of drawings.

    Attributes:
        x: To the right.
        y: Downwards.
        pen: State after it: DOWN, a line goes on to the next point; LIFT; END, the drawing was finished before it.
    """

    x: float
    y: float
    pen: Pen


class Sketcher:
    """Draws a point at a time, so that the strokes can be watched.

    Args:
        task: With trained weights.

    Attributes:
        words: Words that it can draw.
        max_length: Most steps of a drawing.
    """

    def __init__(self, task: SketchTask) -> None:
        self.task = task.eval()
        self.words = task.words
        self.max_length = task.max_length
        self.scale = float(task.offset_std)

    @classmethod
    def from_checkpoint(cls, source: str) -> Self:
        """Take the task of a checkpoint, a run's or an experiment's folder, see find_checkpoint.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is none of a sketch task.
        """
        path = find_checkpoint(source, "ckpt")
        options = read_task_checkpoint(path).get("hyper_parameters", {})
        if options.get("_class_path", "").rpartition(".")[2] != "SketchTask":
            raise ValueError(f"ckpt: {path} is no checkpoint of a SketchTask")
        task = SketchTask.load_from_checkpoint(
            path, map_location="cpu", weights_only=True, recogniser=None, recogniser_ckpt=None
        )
        return cls(task)

    @torch.no_grad()
    def draw(
        self,
        word: str,
        temperature: float,
        start: Sequence[np.ndarray] = (),
        latent: np.ndarray | None = None,
        seed: int | None = None,
    ) -> Iterator[Point]:
        """Draw a word; each point is computed when it is asked for.

        Args:
            word: One of `words`.
            temperature: Above 0; small ones take what is most likely.
            start: First strokes, to go on from.
            latent: Shape (latent_dim,); sampled if not given.
            seed: Seed of the sampling.

        Yields:
            Where the pen starts, unless there are first strokes, then a point a step; END at last, or nothing more
            after max_length steps.
        """
        network = self.task.network
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        words = torch.tensor([self.words.index(word)])
        z = torch.randn(1, network.latent_dim, generator=generator)
        z = z if latent is None else torch.from_numpy(latent).float()[None]
        begun = self._batch(word, start) if len(start) else None
        x, y = start[-1][-1].tolist() if len(start) else (0.0, 0.0)
        if begun is None:
            yield Point(x, y, Pen.DOWN)
        left = self.max_length - (0 if begun is None else begun.pens.shape[1])
        steps = network.draw(words, z, network.word_memory(words), temperature, generator, begun)
        for _, (offset, pen) in zip(range(left), steps, strict=False):
            state = Pen(int(pen))
            if state != Pen.END:
                x, y = (place + self.scale * step for place, step in zip((x, y), offset[0].tolist(), strict=True))
            yield Point(x, y, state)
            if state == Pen.END:
                return

    @torch.no_grad()
    def encode(self, word: str, drawing: Sequence[np.ndarray]) -> np.ndarray:
        """Give the mean latent vector (latent_dim,) of a drawing."""
        return self.task.network.encode(self._batch(word, drawing))[1].mean[0].numpy()

    @staticmethod
    def between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
        """Interpolate latent vectors on the sphere (White 2016, https://arxiv.org/abs/1609.04468, section 2.1).

        Args:
            first: At share 0.
            second: At share 1.
            share: Share of the second sketch, in [0, 1].
        """
        cosine = float(first @ second / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-9))
        angle = np.arccos(np.clip(cosine, -1, 1))
        if np.sin(angle) < 1e-3:
            return (1 - share) * first + share * second
        return (np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / np.sin(angle)

    def _batch(self, word: str, drawing: Sequence[np.ndarray]) -> SketchBatch:
        """Give strokes to the network, thinned out as those it was trained with, without an END."""
        steps = torch.from_numpy(to_steps([_thinned(stroke) for stroke in drawing]))[: self.max_length - 1]
        offsets: Tensor = steps[None, :, :2] / self.scale
        word_index = torch.tensor([self.words.index(word)])
        return SketchBatch.of(offsets, steps[None, :, 2].long(), torch.tensor([len(steps)]), word_index)


def _thinned(stroke: np.ndarray) -> np.ndarray:
    """Leave points out as the official simplification does."""
    return shapely.get_coordinates(shapely.simplify(shapely.linestrings(stroke), EPSILON, preserve_topology=False))
