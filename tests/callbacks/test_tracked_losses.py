"""Losses of an epoch: means over samples, of as many values a step as a task tracks."""

import torch
from helpers.commands import make_trainer

from datamodules import DigitsDataModule
from lightning_tasks import ClassificationTask
from lightning_tasks.networks import MLP


def test_means_over_the_samples_of_an_epoch_by_hand():
    """Two steps; "often" is tracked twice in each, with 1 and 3 samples of value 2 step and 2 step + 1."""
    data = DigitsDataModule(train_per_class=4, batch_size=20)
    task = ClassificationTask(data.data_spec, MLP)
    train, steps = task.training_step, []

    def training_step(batch, batch_idx):
        step = len(steps)
        steps.append(step)
        task.track("often", torch.tensor(2.0 * step), 1)
        task.track("once", torch.tensor(step + 0.5, dtype=torch.float64, requires_grad=True), 4)
        task.track("often", torch.tensor(2.0 * step + 1), 3)
        return train(batch, batch_idx)

    task.training_step = training_step
    trainer = make_trainer(max_epochs=2)
    trainer.fit(task, data)
    assert steps == [0, 1, 2, 3]
    # Of the second epoch: (4 + 3 * 5 + 6 + 3 * 7) / 8 and (2.5 + 3.5) / 2
    assert trainer.callback_metrics["train/often"] == 46 / 8
    assert trainer.callback_metrics["train/once"] == 3
