"""Schedules and averages over stops: what is counted a step, and what `last.ckpt` knows."""

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_TEACHER, TINY_TRAINER, make_trainer, run_cli
from helpers.data_free import make_task
from pytorch_lightning import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_tasks.cli.main import main

PLATEAU = [
    "--model.optimizer=torch.optim.SGD",
    "--model.optimizer.lr=0.1",
    "--model.scheduler=pytorch_lightning.cli.ReduceLROnPlateau",
    "--model.scheduler.factor=0.5",
    "--model.scheduler.patience=0",
    "--model.scheduler.threshold=0.9",  # hardly anything is an improvement: halved each time but the first
]


def distilled(teacher_ckpt):
    network = ["--model.{}=ResNet", "--model.{}.depth=10", "--model.{}.width=4"]
    words = [word.format(name) for name in ("teacher", "student") for word in network]
    return [
        "--model=KDTask",
        *words,
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--model.soft_loss=HintonLoss",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "monitor", "every", "expected", "stops"),
    [
        ("classification", "val/loss", 1, 0.1 / 8, (4,)),
        ("classification", "val/loss", 1, 0.1 / 8, (1, 2, 3, 4)),
        ("classification", "train/loss", 1, 0.1 / 8, (2, 4)),
        ("classification", "val/loss", 2, 0.1 / 2, (3, 4)),
        ("distillation", "val/loss", 1, 0.1 / 8, (2, 4)),
    ],
)
def test_a_schedule_that_watches_a_metric_is_where_it_would_be(kind, monitor, every, expected, stops, teacher_ckpt):
    """Rates by hand: halved at each measurement after the first, whatever the stops."""
    model = TINY_TEACHER if kind == "classification" else distilled(teacher_ckpt)
    words = [*model, *TINY_DATA, *TINY_TRAINER, *PLATEAU, f"--model.scheduler.monitor={monitor}"]
    words += [f"--trainer.check_val_every_n_epoch={every}", "--experiment=x", "--test_after_fit=false"]
    for epochs in stops:
        run_cli("fit", *words, f"--trainer.max_epochs={epochs}", "--ckpt_path=last")
    checkpoint = torch.load("logs/x/version_0/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 3
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert group["lr"] == pytest.approx(expected)
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == 4 // every


def test_a_schedule_without_its_metric_is_said_to_be_so():
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, *PLATEAU, "--model.scheduler.monitor=val/loss"]
    with pytest.raises(MisconfigurationException, match="ReduceLROnPlateau conditioned on metric val/loss"):
        run_cli("fit", *words, "--trainer.limit_val_batches=0", "--trainer.max_epochs=1")


@pytest.mark.parametrize("accumulated", [1, 2, 4])
def test_the_average_follows_steps_of_the_optimizer(accumulated):
    """By hand: after the first step it is the weights, after each other one 0.75 of itself and 0.25 of the weights."""
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--model.ema_decay=0.75", "--data.batch_size=10"]
    words += [f"--trainer.accumulate_grad_batches={accumulated}", "--trainer.max_epochs=1"]
    weights: list[torch.Tensor] = []

    class Watch(Callback):
        steps = 0

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step > self.steps:
                self.steps = trainer.global_step
                weights.append(pl_module.network.conv1.weight.detach().clone())

    cli = main(words, run=False)
    cli.trainer.callbacks.append(Watch())
    cli.trainer.fit(cli.model, cli.datamodule)
    assert len(weights) == cli.trainer.global_step == -(-cli.trainer.num_training_batches // accumulated) >= 3
    by_hand = weights[0]
    for each in weights[1:]:
        by_hand = 0.75 * by_hand + 0.25 * each
    torch.testing.assert_close(cli.model.ema.module.conv1.weight, by_hand)
    assert cli.model.ema.n_averaged == len(weights)


def test_the_average_of_a_data_free_student_follows_each_of_its_steps(teacher_ckpt):
    """By hand over two rounds of three steps; the first makes it the weights."""
    task, data = make_task(teacher_ckpt, ema_decay=0.75, student_steps=3)
    weights = []

    class Watch(Callback):
        def on_train_start(self, trainer, pl_module):
            trainer.optimizers[0].register_step_post_hook(self.keep)

        def keep(self, *_):
            weights.append(task.student.conv1.weight.detach().clone())

    make_trainer(Watch(), max_epochs=1, limit_train_batches=2).fit(task, data)
    assert len(weights) == 6
    by_hand = weights[0]
    for each in weights[1:]:
        by_hand = 0.75 * by_hand + 0.25 * each
    torch.testing.assert_close(task.ema.module.conv1.weight, by_hand)
