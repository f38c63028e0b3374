"""Predictions as a table on disk, and as a plot of the surest and the least sure."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightning_tasks.callbacks.answers import draw_bands
from lightning_tasks.callbacks.plots import class_names, save_figure, subject
from lightning_tasks.runs.atomic_writes import write_table
from lightning_tasks.runs.folders import run_folder
from lightning_tasks.runs.plot_style import drawable

TOP = 5  # classes of each file
SHOWN = 16  # images of each band of the plot
Levels = dict[str, tuple[Tensor, Tensor]]


class PredictionWriter(BasePredictionWriter):
    """Writes `<log folder>/predictions.csv` at the end of `predict`.

    Of the test split a row for each sample, in order: number, label, predicted class and its probability. Of a user's
    files (`data.predict`) a row for each: file, and the five likeliest classes with their probabilities; those that
    cannot be read have none, and are named. The surest and the least sure of the files are drawn,
    `figures/predictions.png`. Where a task answers on several levels, a row has the answer of each.

    Works with tasks whose `predict_step` returns probabilities (B, num_classes) and labels (B,), or in place of the
    former {level: (answers (B,), probabilities (B,))} and has `level_names`. A negative label means that there is none,
    or that there is no image: see datamodules.image_files.
    """

    def __init__(self) -> None:
        super().__init__(write_interval="epoch")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write the table, and draw files."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        path = run_folder(trainer) / "predictions.csv"
        if not trainer.is_global_zero:
            return
        files: list[Path] = getattr(data, "predict_files", [])
        rows = answer_rows(predictions, files, data.class_names, getattr(pl_module, "level_names", {}))
        write_table(path, rows, line_end="\r\n")
        print(f"predictions: {path}")
        if files:
            warn_of_unreadable(files, predictions)
            self._draw(trainer, files, predictions)

    def _draw(self, trainer: Trainer, files: list[Path], predictions: Sequence[Any]) -> None:
        labels = torch.cat([labels for _, labels in predictions]).cpu()
        levels = [next(iter(_columns(said, 1).values())) for said, _ in predictions]
        answers, sure = (torch.cat(each).cpu() for each in zip(*levels, strict=True))
        read = torch.nonzero(labels >= -1).flatten()
        order = read[sure[read].argsort(descending=True, stable=True)]
        if not len(order):
            return
        classes = class_names(trainer)
        dataset = trainer.predict_dataloaders.dataset  # type: ignore[union-attr]
        bands = []
        for title, chosen in (("the surest", order[:SHOWN]), ("the least sure, last first", order.flip(0)[:SHOWN])):
            indices = chosen.tolist()
            said = [(drawable(files[i].name[:20]), classes[answers[i]], sure[i].item()) for i in indices]
            bands.append((title, dataset.__getitems__(indices)[0], said))
        save_figure(
            trainer,
            draw_bands(bands, f"{subject(trainer)}: answers to {len(order)} files", False),
            "predict/predictions",
        )


def answer_rows(
    predictions: Sequence[Any], files: Sequence[Path], class_names: list[str], level_names: dict[str, list[str]]
) -> list[list[Any]]:
    """Make the rows of the table that PredictionWriter writes, the heads first.

    Args:
        predictions: For each batch the task's predictions and the labels (B,); see PredictionWriter.
        files: Predicted files, in order; none for the test split.
        class_names: Names of the classes.
        level_names: Names on levels above the classes, by level.
    """
    rows: list[list[Any]] = []
    count = itertools.count()
    for said, labels in predictions:
        columns = _columns(said, TOP if files else 1)
        if not rows:
            heads = [head for level in columns for head in _heads(level)]
            rows.append([*(["file"] if files else ["index", "label"]), *heads])
        for row, (label, index) in enumerate(zip(labels.tolist(), count, strict=False)):
            what = [files[index]] if files else [index, class_names[label]]
            rows.append([*what, *_cells(columns, row, level_names, class_names, label)])
    return rows


def warn_of_unreadable(files: Sequence[Path], predictions: Sequence[Any]) -> None:
    """Name the first of the files that could not be read, if any."""
    labels = torch.cat([labels for _, labels in predictions])
    if unreadable := [files[index] for index in torch.nonzero(labels < -1).flatten()]:
        names = ", ".join(map(str, unreadable[:3]))
        rank_zero_warn(f"{len(unreadable)} of {len(files)} files are no images that can be read: {names}")


def _columns(said: Tensor | Levels, top: int) -> Levels:
    """Name the answers (B,) and their probabilities (B,) by level, or by rank among the likeliest."""
    if not isinstance(said, Tensor):
        return said
    p, classes = said.topk(min(top, said.shape[1]), dim=1)
    ranks = ["predicted", *(f"predicted_{rank}" for rank in range(2, p.shape[1] + 1))]
    return {name: (classes[:, rank], p[:, rank]) for rank, name in enumerate(ranks)}


def _heads(level: str) -> list[str]:
    """Name the two columns of a level; those of the likeliest class are `predicted` and `probability`."""
    if level.startswith("predicted"):
        return [level, level.replace("predicted", "probability")]
    return [level, f"{level}_probability"]


def _cells(columns: Levels, row: int, names: dict[str, list[str]], class_names: list[str], label: int) -> Iterator[str]:
    """Write class and probability of each column; nothing for what is no image."""
    for level, (classes, p) in columns.items():
        yield from ("", "") if label < -1 else (names.get(level, class_names)[classes[row]], f"{p[row]:.4f}")
