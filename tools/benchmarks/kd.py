"""Distillation with data at the sizes of tinyimagenet_student.yaml: its step, averaged weights, kept answers."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch

from lightning_tasks import StridedCNN
from lightning_tasks.cli.main import main
from tools.benchmarks.dfad_round import Duel
from tools.benchmarks.measure import REPEATS, Comparison, EpochClock, compare, train_epoch

CONFIG = Path(__file__).parents[2] / "configs" / "tinyimagenet_student.yaml"
PER_CLASS = 64
PRECISION = "bf16-mixed"


def run(root: str) -> list[Comparison]:
    """Measure epochs of 64 images a class, without validation; the teacher has random weights."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"--config={CONFIG}", f"--data.root={root}", f"--data.train_per_class={PER_CLASS}"]
        words += ["--trainer.accelerator=cpu", f"--model.teacher_ckpt={_teacher(words, folder)}"]
        return [_step(words), _average(words), _kept(words)]


def _teacher(words: list[str], folder: str) -> Path:
    data = main([*words, "--model.teacher_ckpt=none"], run=False).datamodule
    path = Path(folder, "teacher.ckpt")
    torch.save({"state_dict": StridedCNN(data.num_classes, data.image_shape).state_dict()}, path)
    return path


def _step(words: list[str]) -> Comparison:
    """A step as Lightning runs it, with loader and hooks, against its parts on a batch that is there."""
    cli = main([*words, "--model.ema_decay=null"], run=False)
    data, task = cli.datamodule, cli.model
    teacher, student = copy.deepcopy(task.teacher.network), copy.deepcopy(task.student)
    for network in (teacher.eval(), student):
        network.to(memory_format=torch.channels_last)
    optimizer = task.optimizer(student.parameters())
    x = torch.randn(data.batch_size, *data.image_shape).to(memory_format=torch.channels_last)
    y = torch.randint(0, data.num_classes, (len(x),))

    def plain() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                taught = teacher(x)
            logits = student(x)
        loss = (1 - task.alpha) * task.hard_loss(logits, y) + task.alpha * task.soft_loss(logits, taught, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    duel = Duel(plain)
    train_epoch(task, data, duel, PRECISION)
    name = "step of tinyimagenet_student.yaml, including loader and hooks"
    other = "teacher forward + student step on one batch"
    return compare(name, other, "ms", duel.ours, duel.theirs, bar=1 / 1.1)


def _average(words: list[str]) -> Comparison:
    """Epochs with and without averaged weights."""
    times: dict[str, list[float]] = {"0.99": [], "null": []}
    for _ in range(REPEATS + 1):
        for decay, spent in times.items():
            spent.append(_epoch(main([*words, f"--model.ema_decay={decay}"], run=False)))
    name = "epoch of tinyimagenet_student.yaml with averaged weights"
    return compare(name, "without", "s", times["0.99"], times["null"], bar=1 / 1.03)


def _kept(words: list[str]) -> Comparison:
    """Epochs that find the teacher's answers kept, against such that ask it."""
    kept, asked = main([*words, "--model.cached_epochs=1"], run=False), main(words, run=False)
    ours, theirs = [], []
    for _ in range(REPEATS + 2):
        ours.append(_epoch(kept))
        theirs.append(_epoch(asked))
    name = "epoch of tinyimagenet_student.yaml, teacher outputs cached"
    return compare(name, "teacher run every step", "s", ours[1:], theirs[1:], bar=1)


def _epoch(cli: Any) -> float:
    clock = EpochClock()
    train_epoch(cli.model, cli.datamodule, clock, PRECISION)
    return clock.seconds
