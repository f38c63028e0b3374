"""What Lightning, the command line and its callbacks cost: an epoch of mnist_mlp.yaml against a bare PyTorch loop."""

import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from benchmarks.measure import REPEATS, Comparison, compare, seconds
from cli import main
from lightning_tasks import MLP

CONFIG = Path(__file__).parent.parent / "configs" / "mnist_mlp.yaml"


class BareLoop(pl.Callback):
    """Before each epoch of the trainer, runs an epoch on the same batches in a loop of five lines, and times both."""

    def __init__(self) -> None:
        self.network = MLP(10, (1, 28, 28), (128, 64))
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9)
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._start = 0.0

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
        for batch in loader:
            x, y = data.on_after_batch_transfer(batch, 0)
            loss = F.cross_entropy(self.network(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        right = 0
        with torch.no_grad():
            for batch in data.val_dataloader():
                x, y = data.on_after_batch_transfer(batch, 0)
                right += int((self.network(x).argmax(dim=1) == y).sum())
        return right


def run(root: str) -> list[Comparison]:
    """Measure seconds per epoch, with validation; ratios below 1 are what Lightning costs."""
    bare = BareLoop()
    # The command line builds its callbacks from names; this one is put beside them.
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
                    f"--config={CONFIG}",
                    f"--data.root={root}",
                    f"--trainer.max_epochs={REPEATS + 2}",
                    f"--trainer.default_root_dir={folder}",
                    "--trainer.accelerator=cpu",
                    "--test_after_fit=false",
                ]
            )
    finally:
        pl.Trainer.__init__ = build  # type: ignore[method-assign]
    name = "epoch of mnist_mlp.yaml (at most 1.6 times the bare loop)"
    return [compare(name, "bare PyTorch loop", "s", bare.ours, bare.theirs[: len(bare.ours)], bar=1 / 1.6)]
