"""Predictions as a table on disk."""

import csv
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from runs.folders import run_folder


class PredictionWriter(BasePredictionWriter):
    """Writes `<log folder>/predictions.csv` at the end of `predict`: label, predicted class and its probability.

    One row a test sample, in order; where a task answers on several levels, the answer of each and its probability.
    Works with tasks whose `predict_step` returns probabilities (B, num_classes) and labels (B,), or in place of the
    former {level: (answers (B,), probabilities (B,))} and has `level_names`.
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
        """Write the table."""
        class_names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        names = getattr(pl_module, "level_names", {})
        path = run_folder(trainer) / "predictions.csv"
        if not trainer.is_global_zero:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            index = itertools.count()
            for batch, (said, labels) in enumerate(predictions):
                answers = {"predicted": said.max(dim=1)[::-1]} if isinstance(said, Tensor) else said
                if not batch:
                    writer.writerow(["index", "label", *_heads(answers)])
                columns = [
                    ([names.get(level, class_names)[each] for each in classes], [f"{p:.4f}" for p in probability])
                    for level, (classes, probability) in answers.items()
                ]
                rows = zip(labels.tolist(), *itertools.chain(*columns), strict=True)
                writer.writerows([next(index), class_names[label], *row] for label, *row in rows)
        print(f"predictions: {path}")


def _heads(levels: Iterable[str]) -> list[str]:
    """Name two columns for each level; those of the only one are `predicted` and `probability`."""
    return [
        head
        for level in levels
        for head in (["predicted", "probability"] if level == "predicted" else [level, f"{level}_probability"])
    ]
