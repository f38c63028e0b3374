"""One round of data-free distillation (5 student steps, 1 generator step) against the plain loop, on the CPU."""

import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from datamodules import CIFAR100DataModule, DigitsDataModule, ImageDataModule
from lightning_tasks import DFADTask, ImageGenerator, ResNet
from tools.benchmarks.measure import REPEATS, Comparison, compare, seconds, train_epoch
from tools.benchmarks.plain_dfad import plain_round


class Duel(pl.Callback):
    """Times each of the task's rounds as Lightning runs it, hooks and all, and in between a plain round."""

    def __init__(self, plain: Callable[[], object]) -> None:
        self.plain = plain
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._start = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Close the round before, let the other play, and start the clock."""
        if self._start:
            self.ours.append(1e3 * (time.perf_counter() - self._start))
            self.theirs.append(1e3 * seconds(self.plain))
        self._start = time.perf_counter()


def _duel(
    data: ImageDataModule,
    teacher: Callable[..., ResNet],
    student: Callable[..., ResNet],
    freeze: bool,
    **options: Any,
) -> tuple[list[float], list[float]]:
    plain_teacher = teacher(data.num_classes, data.image_shape).eval().requires_grad_(not freeze)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "teacher.ckpt")
        torch.save({"state_dict": {f"network.{k}": v for k, v in plain_teacher.state_dict().items()}}, path)
        task = DFADTask(
            data.data_spec,
            teacher=teacher,
            student=student,
            teacher_ckpt=str(path),
            **options,
        )
        networks = plain_teacher, copy.deepcopy(task.student).train(), copy.deepcopy(task.generator).train()
        optimizers = (
            task.student_training.optimizer(networks[1].parameters()),
            task.generator_training.optimizer(networks[2].parameters()),
        )

        def plain() -> object:
            noise = [torch.randn(task.batch_size, int(task.generator.latent_dim)) for _ in range(6)]
            return plain_round(*networks, *optimizers, noise)

        duel = Duel(plain)
        train_epoch(task, data, duel)
    return duel.ours, duel.theirs


def run(root: str) -> list[Comparison]:
    """Measure at the sizes of dfad_digits.yaml, and with the networks of dfad.yaml on smaller batches."""
    del root  # no data set is read but the embedded one
    digits = DigitsDataModule(steps_per_epoch=REPEATS + 2)
    cifar = _Shapes(steps_per_epoch=REPEATS + 2)
    small = {
        "teacher": lambda classes, shape: ResNet(classes, shape, depth=10, width=20),
        "student": lambda classes, shape: ResNet(classes, shape, depth=10, width=9),
        "batch_size": 96,
        "generator": lambda shape: ImageGenerator(shape, width=16),
    }
    large = {
        "teacher": lambda classes, shape: ResNet(classes, shape, depth=34),
        "student": lambda classes, shape: ResNet(classes, shape, depth=18, width=40),
        "batch_size": 32,
    }
    games: tuple[tuple[str, ImageDataModule, dict[str, Any], str, bool], ...] = (
        ("DFAD round, digits, batch 96", digits, small, "plain loop", False),
        ("DFAD round, digits, batch 96", digits, small, "plain loop, teacher without gradients", True),
        ("DFAD round, digits, batch 96, --model.compile", digits, small | {"compile": True}, "plain loop", False),
        ("DFAD round, CIFAR-100 networks, batch 32", cifar, large, "plain loop", False),
    )
    return [
        compare(name, other, "ms", *_duel(data, freeze=freeze, **options), bar=1.6)
        for name, data, options, other, freeze in games
    ]


class _Shapes(CIFAR100DataModule):
    """CIFAR-100's shapes without its images: a data-free round reads none."""

    def prepare_data(self) -> None:
        pass

    def setup(self, stage: str) -> None:
        pass
