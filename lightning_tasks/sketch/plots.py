"""Sketches over the epochs."""

import itertools
from typing import cast

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.callbacks.plots import PeriodicPlot, save_figure, subject
from lightning_tasks.drawings.steps import Drawing, to_drawing
from lightning_tasks.runs.plot_style import BLUE, drawable, styled
from lightning_tasks.sketch.task import SketchTask

PAIRS = 3  # of a drawing and what the network makes of it
CELL = 0.85  # inches


class SketchPlot(PeriodicPlot):
    """Draws a row for each word: sketches from the word alone, then test drawings and their reconstructions.

    Latent vectors and drawings are the same each time, so the plots can be laid side by side. One PNG a time, as
    `figures/sketches_<epoch>.png`. Works with tasks that have `generate` and `reconstruct`.

    Args:
        every_n_epochs: Draw after each n-th epoch, and after the last.
        num_sketches: From each word.
        max_words: Words that are shown, the first ones.
    """

    needs = ("generate", "reconstruct")

    def __init__(self, every_n_epochs: int = 1, num_sketches: int = 10, max_words: int = 25) -> None:
        super().__init__(every_n_epochs)
        if min(num_sketches, max_words) < 1:
            raise ValueError(f"num_sketches and max_words must be at least 1, got {num_sketches}, {max_words}")
        self.num_sketches = num_sketches
        self.max_words = max_words

    def draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Draw what the network draws now."""
        task = cast(SketchTask, pl_module)
        names = [drawable(word) for word in task.words[: self.max_words]]
        words = torch.arange(len(names))
        data = trainer.datamodule.test_set  # type: ignore[attr-defined]
        examples = [torch.nonzero(data.words == word).flatten()[:PAIRS].tolist() for word in words]
        sketches = task.generate(words.repeat_interleave(self.num_sketches))
        batch = trainer.datamodule.test_samples([*itertools.chain(*examples)])  # type: ignore[attr-defined]
        reconstructed = iter(task.reconstruct(batch))
        rows = [
            (
                [to_drawing(each) for each in sketches[word * self.num_sketches : (word + 1) * self.num_sketches]],
                [(to_drawing(data.steps(index)), to_drawing(next(reconstructed))) for index in some],
            )
            for word, some in enumerate(examples)
        ]
        title = f"{subject(trainer)} after epoch {epoch}: sketches"
        save_figure(trainer, draw_sketches(names, rows, title, task.temperature), "images/sketches", epoch)


@styled
def draw_sketches(
    names: list[str], rows: list[tuple[list[Drawing], list[tuple[Drawing, Drawing]]]], title: str, temperature: float
) -> Figure:
    """Draw a row for each word: sketches, then pairs of a drawing (grey) and its reconstruction.

    Args:
        names: Names of the words.
        rows: For each word its sketches and its pairs.
        title: Above all.
        temperature: Sampling temperature of the sketches.
    """
    columns = max(len(sketches) for sketches, _ in rows)
    pairs_at = columns + 0.5
    width = pairs_at + 2 * max((len(pairs) for _, pairs in rows), default=0)
    figure = Figure(figsize=(CELL * width + 1.2, CELL * len(rows) + 0.9), layout="constrained")
    figure.suptitle(f"{title}, temperature {temperature:g}", size=11)
    axes = figure.subplots()
    for row, (sketches, pairs) in enumerate(rows):
        for column, drawing in enumerate(sketches):
            axes.add_collection(_placed(drawing, column, row, "black"))
        for number, (real, reconstructed) in enumerate(pairs):
            axes.add_collection(_placed(real, pairs_at + 2 * number, row, "grey"))
            axes.add_collection(_placed(reconstructed, pairs_at + 2 * number + 1, row, BLUE))
    axes.set(xlim=(0, width), ylim=(len(rows), 0), aspect="equal")
    axes.set_yticks(np.arange(len(rows)) + 0.5, names)
    axes.set_xticks(
        [columns / 2, (pairs_at + width) / 2], ["from the word alone", "drawings (grey) and reconstructed (blue)"]
    )
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def _placed(drawing: Drawing, column: float, row: int, colour: str) -> LineCollection:
    """Fit a drawing into a cell of the side 1; a drawing without a line is left out."""
    points = np.concatenate([*drawing, np.zeros((1, 2))]) if not drawing else np.concatenate(drawing)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 0.88 / max(float((high - low).max()), 1e-6)
    middle = np.array([column + 0.5, row + 0.5])
    lines = [(stroke - (low + high) / 2) * scale + middle for stroke in drawing]
    return LineCollection(lines, colors=colour, linewidths=1.0, capstyle="round", joinstyle="round")
