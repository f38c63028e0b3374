"""Predictions as a table on disk."""

import csv
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from runs.folders import run_folder


class PredictionWriter(BasePredictionWriter):
    """Writes `<log folder>/predictions.csv` at the end of `predict`: label, predicted class and its probability.

    One row a test sample, in order. Works with tasks whose `predict_step` returns probabilities and labels.
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
        names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        probabilities = torch.cat([probability for probability, _ in predictions]).cpu()
        labels = torch.cat([label for _, label in predictions]).tolist()
        best, classes = probabilities.max(dim=1)
        path = run_folder(trainer) / "predictions.csv"
        if not trainer.is_global_zero:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["index", "label", "predicted", "probability"])
            for index, (label, predicted, value) in enumerate(
                zip(labels, classes.tolist(), best.tolist(), strict=True)
            ):
                writer.writerow([index, names[label], names[predicted], f"{value:.4f}"])
        print(f"predictions: {path}")
