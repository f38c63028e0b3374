"""Networks by hand against the same networks through autograd and torch.optim, on real MNIST.

Both are trained by Lightning for an epoch, on the same batches; updates from single samples by bare loops.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from datamodules import ImageDataModule
from lightning_tasks import ByHandTask, ClassificationTask
from lightning_tasks.cli.main import main
from tools.benchmarks.measure import REPEATS, Comparison, EpochClock, compare, seconds, train_epoch

CONFIGS = Path(__file__).parents[2] / "configs"
AUTOGRAD = "autograd and torch.optim.SGD"
SAMPLES = 2000  # of single-sample updates


def mlp() -> nn.Module:
    """Build the network of mnist_by_hand.yaml for autograd."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def cnn() -> nn.Module:
    """Build the network of mnist_cnn_by_hand.yaml for autograd."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(196, 49), nn.ReLU(), nn.Linear(49, 10)),
    )


def epoch_seconds(task: pl.LightningModule, data: ImageDataModule) -> float:
    """Train for an epoch and time it."""
    clock = EpochClock()
    train_epoch(task, data, clock)
    return clock.seconds


def by_hand(config: str, root: str, *words: str) -> tuple[ByHandTask, ImageDataModule]:
    """Build task and data of a config."""
    command = [f"--config={CONFIGS / config}.yaml", f"--data.root={root}", "--trainer.accelerator=cpu", *words]
    cli = main([*command, "--plots=false"], run=False)
    return cli.model, cli.datamodule


def through_autograd(network: Callable[[], nn.Module], momentum: float, l2: float) -> ClassificationTask:
    """Build a task that trains the same network by autograd."""

    def optimizer(params: Any) -> torch.optim.Optimizer:
        params = list(params)
        decayed, others = [p for p in params if p.ndim > 1], [p for p in params if p.ndim == 1]
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": l2}, {"params": others}]
        return torch.optim.SGD(groups, lr=0.01, momentum=momentum)

    return ClassificationTask(
        {"dataset": "MNIST", "num_classes": 10, "image_shape": (1, 28, 28), "mean": (0.0,), "std": (1.0,)},
        network=lambda *_: network(),  # type: ignore[arg-type]
        optimizer=optimizer,
    )


def updates_per_second(root: str) -> Comparison:
    """Measure updates from single samples: an epoch by hand, against a bare loop with autograd."""
    words = ("--model.update_every=sample", f"--data.batch_size={SAMPLES}", "--data.train_per_class=1000")
    task, data = by_hand("mnist_by_hand", root, *words)
    data.prepare_data()
    x, y = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    network = mlp()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, weight_decay=5e-4)

    def autograd() -> None:
        for sample in range(SAMPLES):
            loss = F.cross_entropy(network(x[sample : sample + 1]), y[sample : sample + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    ours, theirs = [], []
    for _ in range(REPEATS + 1):
        ours.append(len(data.train_set) / epoch_seconds(task, data))  # type: ignore[arg-type]
        theirs.append(SAMPLES / seconds(autograd))
    name = "single-sample updates of mnist_by_hand.yaml with L2 (at least 4,000/s)"
    return compare(name, AUTOGRAD, "updates/s", ours, theirs, 1, more_is_better=True)


def run(root: str) -> list[Comparison]:
    """Measure seconds per epoch of both networks, of the NumPy backend, and updates per second."""
    rows = []
    for config, network, momentum, l2, bar in (
        ("mnist_by_hand", mlp, 0.0, 5e-4, 1.0),
        ("mnist_cnn_by_hand_60000", cnn, 0.9, 0.0, 1 / 1.5),
    ):
        ours, theirs = [], []
        for _ in range(REPEATS + 1):
            task, data = by_hand(config, root)
            ours.append(epoch_seconds(task, data))
            theirs.append(epoch_seconds(through_autograd(network, momentum, l2), data))
        rows.append(compare(f"epoch of {config}.yaml", AUTOGRAD, "s", ours, theirs, bar))
    ours, theirs = [], []
    for _ in range(REPEATS + 1):
        for backend, times in (("numpy", ours), ("torch", theirs)):
            times.append(epoch_seconds(*by_hand("mnist_by_hand", root, f"--model.backend={backend}")))
    rows.append(compare("epoch of mnist_by_hand.yaml, backend numpy", "backend torch", "s", ours, theirs, 1 / 1.5))
    return [*rows, updates_per_second(root)]
