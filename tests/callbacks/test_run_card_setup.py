"""The run card's counts, where the task is already said to be on a device that its weights are not on."""

import torch
from helpers.commands import make_trainer
from helpers.data_free import make_task

from lightning_tasks import DFADTask
from lightning_tasks.callbacks import RunCard


def test_counts_are_made_where_the_weights_are(teacher_ckpt, monkeypatch):
    """Lightning sets a task's device before `setup`, and moves its weights after it."""
    task, _ = make_task(teacher_ckpt)
    card = RunCard("tiny", "", {}, None)
    card.setup(make_trainer(), task, "fit")
    there = card.multiply_adds
    monkeypatch.setattr(DFADTask, "device", torch.device("meta"))
    card.setup(make_trainer(), task, "fit")
    assert card.multiply_adds == there
    assert all(count > 0 for count in there.values())
