"""What Lightning, the command line and its callbacks cost: epochs against a bare PyTorch loop on the same data path."""

import copy
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from lightning_tasks.cli.main import main
from tools.benchmarks.measure import REPEATS, Comparison, compare, seconds

CONFIGS = Path(__file__).parents[2] / "configs"
# Config, how many times the bare loop an epoch may take, and options that make the epoch short.
EPOCHS = (
    ("mnist_mlp", 1.6, ()),
    ("mnist_cnn", 1.15, ("--data.train_per_class=500", "--data.val_fraction=0.02")),
    ("cifar100_cnn", 1.15, ("--data.train_per_class=30", "--trainer.limit_val_batches=1")),
    (
        "cifar100_multitask",
        1.15,
        # The bare loop evaluates each image once too, and as many.
        (
            "--data.train_per_class=30",
            "--data.val_fraction=0.02",
            "--trainer.limit_val_batches=2",
            "--model.test_time_flip=false",
        ),
    ),
)


class BareLoop(pl.Callback):
    """Before each epoch of the trainer, runs an epoch on the same batches in a loop of five lines, and times both."""

    network: Any
    label_smoothing: Any

    def __init__(self) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._start = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the network, in the same memory order, and give it an optimizer of its own."""
        self.network = copy.deepcopy(pl_module.network)
        self.optimizer = pl_module.optimizer(self.network.parameters())  # type: ignore[operator]
        self.label_smoothing = pl_module.loss.label_smoothing  # type: ignore[union-attr]
        self.half = trainer.precision == "bf16-mixed"

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the trainer's epoch, with its validation and checkpoint; run the bare one; start the next."""
        if self._start:
            self.ours.append(time.perf_counter() - self._start)
        self.theirs.append(seconds(lambda: self._epoch(trainer)))
        self._start = time.perf_counter()

    def _epoch(self, trainer: pl.Trainer) -> float:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        loader = data.train_dataloader()
        loader.sampler.set_epoch(trainer.current_epoch)
        half = torch.autocast("cpu", torch.bfloat16, enabled=self.half)
        self.network.train()
        for batch in loader:
            x, y = data.on_after_batch_transfer(batch, 0)
            with half:
                loss = F.cross_entropy(self.network(x), y, label_smoothing=self.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.network.eval()
        right = 0
        with torch.no_grad(), half:
            for batch in data.val_dataloader():
                x, y = data.on_after_batch_transfer(batch, 0)
                right += int((self.network(x).argmax(dim=1) == y).sum())
        return right


def run(root: str) -> list[Comparison]:
    """Measure seconds per epoch, with validation; ratios below 1 are what Lightning costs."""
    rows = []
    for config, most, options in EPOCHS:
        bare = BareLoop()
        _train(config, bare, f"--data.root={root}", *options)
        name = f"epoch of {config}.yaml (at most {most} times the bare loop)"
        rows.append(compare(name, "bare PyTorch loop", "s", bare.ours, bare.theirs[: len(bare.ours)], bar=1 / most))
    return rows


def _train(config: str, bare: BareLoop, *options: str) -> None:
    """Run a config's epochs; the command line builds its callbacks from names, and this one is put beside them."""
    build = pl.Trainer.__init__

    @functools.wraps(build)
    def build_with_bare(self: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        kwargs["callbacks"] = [*kwargs.pop("callbacks", []), bare]
        build(self, *args, **kwargs)

    pl.Trainer.__init__ = build_with_bare  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            main(
                [
                    "fit",
                    f"--config={CONFIGS / config}.yaml",
                    f"--trainer.max_epochs={REPEATS + 2}",
                    f"--trainer.default_root_dir={folder}",
                    "--trainer.accelerator=cpu",
                    "--plots=false",
                    "--test_after_fit=false",
                    *options,
                ]
            )
    finally:
        pl.Trainer.__init__ = build  # type: ignore[method-assign]
