"""What the processes of a run compare, how long they wait, and how a signal ends one that does not listen."""

import signal
import subprocess
import sys
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from helpers.commands import ROOT, TINY_DATA, TINY_TEACHER, TINY_TRAINER, run_cli

from lightning_tasks.cli.main import main
from lightning_tasks.runs.folders import claim_version, is_first_process
from lightning_tasks.runs.ranks import ADVICE, LIMIT, Means, OneRun, Rank, differences

WORDS = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER]


def rank(number, **found):
    return Rank(number, f"host{number}", {kind: found.get(kind, {}) for kind in ADVICE})


def test_nothing_differs():
    found = {"option": {"lr": 0.1}, "data": {"mean": Means([0.0, 1.0])}}
    others = found | {"data": {"mean": Means([0.0, 1.0001])}}
    assert differences([rank(0, **found), rank(1, **others)]) is None


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"option": {"lr": 0.1}}, {"option": {"lr": 0.1005}}, "lr is 0.1 on rank 0 (host0), 0.1005 on rank 1 (host1)"),
        ({"checkpoint": {"it": "a"}}, {}, "it is a on rank 0 (host0), none on rank 1 (host1): share the folder"),
        ({"data": {"m": Means([1.0])}}, {"data": {"m": Means([1.1])}}, "m is 1, ... on rank 0 (host0), 1.1, ... on"),
        ({"data": {"m": Means([1.0])}}, {"data": {"m": Means([1.0, 1.0])}}, "m is 1, ... on rank 0 (host0), 1, 1, ..."),
        (  # the cause is said, not what comes of it
            {"option": {"seed": 1}, "data": {"labels": 3}},
            {"option": {"seed": 2}, "data": {"labels": 4}},
            "seed is 1 on rank 0 (host0), 2 on rank 1 (host1): give all processes the same command and the same conf",
        ),
        (  # a file that is missing on one machine is no other option
            {"file": {"ckpt": "a"}},
            {"option": {"ckpt": "a.ckpt"}},
            "ckpt is a on rank 0 (host0), none on rank 1 (host1): copy the file to each machine",
        ),
        (
            {"option": dict.fromkeys("abcde", 1)},
            {},
            "; c is 1 on rank 0 (host0), none on rank 1 (host1) and 2 more: give all",
        ),
    ],
)
def test_what_differs_is_said_in_a_line(first, second, said):
    line = differences([rank(0, **first), rank(1, **second)])
    assert line.startswith("the processes of this run differ: ")
    assert said in line
    assert "\n" not in line


def test_the_ranks_that_differ_are_named():
    ranks = [rank(number, option={"lr": 1 if number in (0, 2) else 2}) for number in range(6)]
    assert "lr is 1 on rank 0 (host0), 2 on rank 1 (host1), 2 on rank 3 (host3) and 2 more: " in differences(ranks)


def test_one_process_compares_nothing():
    OneRun(None, None).setup(SimpleNamespace(world_size=1), None, "fit")


def test_what_is_found_leaves_the_random_numbers_alone():
    cli = run_cli("fit", *WORDS, "--trainer.fast_dev_run=1")
    before = torch.get_rng_state()
    (callback,) = [each for each in cli.trainer.callbacks if isinstance(each, OneRun)]
    found = callback.find(cli.datamodule)
    assert torch.equal(torch.get_rng_state(), before)
    assert found["option"]["model.optimizer.lr"] == 0.1
    assert set(found["code"]) >= {"torch", "pytorch-lightning", "this project"}
    assert {"data.num_classes", "labels of data.train_set", "mean of samples of data.val_set"} <= set(found["data"])
    assert not [name for name in found["option"] if name.startswith(("data.root", "trainer.logger", "config"))]


def test_it_comes_first():
    """Whatever comes before it may wait for others, who do something else."""
    words = [*WORDS, "--trainer.callbacks=CurvesPlot", "--trainer.callbacks+=DeviceStatsMonitor"]
    assert isinstance(run_cli("fit", *words, "--trainer.fast_dev_run=1").trainer.callbacks[0], OneRun)


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (["--trainer.strategy=ddp"], LIMIT),
        (["--trainer.strategy=ddp_find_unused_parameters_true"], LIMIT),
        ([], LIMIT),
        (["--trainer.strategy=DDPStrategy", "--trainer.strategy.timeout=1:00:00"], timedelta(hours=1)),
    ],
)
def test_how_long_a_process_waits(words, limit, monkeypatch):
    joined = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **options: joined.append(options))
    main([*WORDS, *words, "--trainer.devices=2"], run=False).trainer.strategy.setup_environment()
    assert [options["timeout"] for options in joined] == [limit]


def test_a_second_machine_is_not_the_first(monkeypatch, tmp_path):
    assert is_first_process()
    monkeypatch.setenv("NODE_RANK", "1")
    assert not is_first_process()
    assert claim_version(tmp_path / "x") == 0
    assert not (tmp_path / "x").exists()


# Signals

STUBBORN = """
import os, signal, sys, threading, time
sys.path.insert(0, {root!r})
from lightning_tasks.runs import signals
signals.GRACE = {grace}
for number in signals.ENDING:
    signal.signal(number, lambda *_: None)
signals.end_in_time(lambda: "; go on", lambda: print("before", flush=True))
{more}
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""
WORKER = """
if os.fork() == 0:
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.1)
    os._exit(0)
os.wait()
"""


def stubborn(grace, more=""):
    """A process that no signal ends by itself."""
    code = STUBBORN.format(root=str(ROOT), grace=grace, more=more)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_ends_a_process_in_time(number, name):
    process = stubborn(1.5)
    start = time.monotonic()
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)  # of a launcher, which hands on what all were sent
    assert process.communicate(timeout=10) == ("before\n", f"stopped by {name}; go on\n")
    assert process.returncode == 128 + number
    assert 1.4 < time.monotonic() - start < 3


def test_a_second_signal_ends_it_at_once():
    process = stubborn(60)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(1.1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("before\n", "stopped by Ctrl-C; go on\n")
    assert process.returncode == 130
    assert time.monotonic() - start < 3


@pytest.mark.slow
def test_signals_of_a_worker_are_its_own():
    process = stubborn(0.1, WORKER)
    time.sleep(0.5)
    assert process.poll() is None
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_other_signals_count_for_nothing():
    process = stubborn(0.5, "signal.signal(signal.SIGUSR1, lambda *_: None)")
    for _ in range(3):
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.6)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("before\n", "stopped by SIGTERM; go on\n")
