"""Paired timing: two ways in turn, so that a machine whose speed drifts slows both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl

REPEATS = 7


@dataclass
class Comparison:
    """Medians of two ways of doing the same.

    Attributes:
        name: Name of the measurement.
        other: The way it is compared with.
        unit: Unit of the two medians.
        ours: Median of our way.
        theirs: Median of the other way.
        ratio: Median of the ratios pair by pair, above 1 if ours is better.
        bar: The ratio asked for.
        repeats: Number of pairs.
    """

    name: str
    other: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    bar: float
    repeats: int


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class EpochClock(pl.Callback):
    """Times an epoch, in `seconds`."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._start


def train_epoch(
    task: pl.LightningModule, data: pl.LightningDataModule, callback: pl.Callback, precision: Any = "32-true"
) -> None:
    """Let Lightning train for an epoch on the CPU, without validation, logger and checkpoint; the callback measures."""
    pl.Trainer(
        precision=precision,
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[callback],
    ).fit(task, data)


def compare(
    name: str, other: str, unit: str, ours: list[float], theirs: list[float], bar: float, more_is_better: bool = False
) -> Comparison:
    """Summarise paired measurements; the first pair is a warm-up and is dropped."""
    pairs = list(zip(ours, theirs, strict=True))[1:]
    ratios = [a / b if more_is_better else b / a for a, b in pairs]
    median = statistics.median
    return Comparison(
        name,
        other,
        unit,
        median(a for a, _ in pairs),
        median(b for _, b in pairs),
        median(ratios),
        bar,
        len(pairs),
    )
