"""The time that a run will take, as a clock that is set by hand says."""

from types import SimpleNamespace

import pytest
import torch
from helpers.clocks import Host, pretend
from helpers.commands import CONFIGS, ROOT
from pytorch_lightning.callbacks import EarlyStopping, Timer

from lightning_tasks.callbacks import Clock, RunCard
from lightning_tasks.runs.remedies import cpu_config


def test_it_is_said_after_the_first_steps_of_a_long_epoch(monkeypatch, capsys):
    host = Host(monkeypatch)
    trainer = pretend(Clock(), host, [60.0])
    assert (
        capsys.readouterr().out
        == "about 19 min left on this machine for 20 epochs at this pace, plus validation and plots\n"
    )
    trainer = pretend(Clock(), host, [2.0])  # a short one is measured whole
    assert capsys.readouterr().out == "about 38 s left on this machine for 19 epochs at this pace\n"
    trainer.is_global_zero = False
    clock = Clock()
    clock.on_train_start(trainer, None)
    clock.on_train_epoch_start(trainer, None)
    host.now += 5
    clock.on_train_epoch_end(trainer, None)
    assert capsys.readouterr().out == ""


def test_a_slow_first_batch_does_not_count(monkeypatch, capsys):
    host = Host(monkeypatch)
    trainer = SimpleNamespace(
        current_epoch=0, max_epochs=2, max_steps=-1, global_step=0, num_training_batches=100, should_stop=False,
        is_global_zero=True, fast_dev_run=False, check_val_every_n_epoch=1, callbacks=[],
    )  # fmt: skip
    clock = Clock()
    clock.on_train_start(trainer, None)
    clock.on_train_epoch_start(trainer, None)
    for index in range(10):
        clock.on_train_batch_start(trainer, None, None, index)
        host.now += 1 if index else 500
    assert clock.seconds_an_epoch == pytest.approx(100)


def test_a_warm_up_does_not_promise_the_time_of_the_student(monkeypatch, capsys):
    host, clock = Host(monkeypatch), Clock()
    trainer = pretend(clock, host, [2.0, 2.0], warm_up=4)
    assert capsys.readouterr().out == (
        "at least 38 s left on this machine for 19 epochs at this pace; epochs that train the student take longer\n"
    )
    assert clock.left(trainer, 2) == "at least 36 s"
    clock = Clock()
    trainer = pretend(clock, host, [2.0] * 4 + [20.0], warm_up=4)
    assert capsys.readouterr().out.splitlines()[1] == (
        "about 5 min left on this machine for 16 epochs at this pace, plus validation and plots"
    )
    assert clock.left(trainer, 5) == "5 min"  # 15 times 20 s: the generator's pretraining is forgotten


def test_a_run_that_is_meant_for_a_gpu_names_the_config_for_a_cpu(monkeypatch, capsys):
    """After twelve hours, of a config that names one, on a CPU."""
    monkeypatch.chdir(ROOT)
    host = Host(monkeypatch)

    def said(experiment, seconds, device="cpu"):
        card = RunCard(experiment, "", {}, None)
        strategy = SimpleNamespace(root_device=torch.device(device))
        pretend(Clock(), host, [seconds], callbacks=[card], strategy=strategy)
        return capsys.readouterr().out.splitlines()[1:]

    (line,) = said("dfad", 3000)  # 20 epochs: 16.7 hours
    assert "fit --config configs/dfad_torchvision.yaml" in line
    assert said("dfad", 2000) == said("dfad", 3000, "meta") == said("mnist_cnn", 3000) == said("unknown", 3000) == []


def test_configs_that_need_a_gpu_name_one_for_a_cpu(monkeypatch):
    monkeypatch.chdir(ROOT)
    named = {config.stem: cpu_config(config.stem) for config in CONFIGS if "GPU" in config.read_text()}
    assert all((ROOT / (other or "none")).is_file() for other in named.values()), named
    assert len(named) == 7


def test_epochs_that_become_slower_are_followed(monkeypatch, capsys):
    clock = Clock()
    trainer = pretend(clock, Host(monkeypatch), [1.0] * 10 + [50.0] * 5)
    assert clock.left(trainer, 15) == "4 min"  # 5 times 50 s


def test_what_ends_first_counts(monkeypatch, capsys):
    host = Host(monkeypatch)
    timer = Timer({"seconds": 7})
    assert pretend(Clock(), host, [2.0], callbacks=[timer])
    assert capsys.readouterr().out == "about 7 s left on this machine\n"
    pretend(Clock(), host, [2.0], callbacks=[EarlyStopping("val/loss")])
    assert capsys.readouterr().out.startswith("at most 38 s left")


def test_no_time_is_known_of_endless_epochs(monkeypatch, capsys):
    clock = Clock()
    trainer = pretend(clock, Host(monkeypatch), [2.0])
    trainer.max_epochs = -1
    assert clock.left(trainer, 1) == ""
    trainer.max_epochs, clock.seconds_an_epoch = 9, float("inf")
    assert clock.left(trainer, 1) == ""
