"""What fit prints: first lines, a bar or a line an epoch, and how a run ended."""

import contextlib
import io
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.clocks import Host, pretend
from helpers.commands import (
    ROOT,
    SHOWN,
    TINY_BY_HAND,
    TINY_DATA,
    TINY_DFAD,
    TINY_TEACHER,
    TINY_TRAINER,
    run_card,
    run_cli,
)
from pytorch_lightning.callbacks.progress.rich_progress import CustomProgress
from rich.console import Console
from rich.progress import TextColumn

from lightning_tasks.callbacks import Clock, CompactProgressBar, ProgressLines
from lightning_tasks.callbacks import progress as bars

TEACHER = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, *SHOWN]
LINE = re.compile(
    r"epoch +(\d+)/(\d+), loss ([\d.e-]+), val/acc ([\d.]+), \d+ s so far(?:, ((?:at \w+ )?\d+ s) left)?$"
)


def lines_of(out):
    return [line for line in out.splitlines() if line.startswith("epoch ") and "test" not in line]


@pytest.fixture
def logged():
    """What Lightning logs, which goes to the standard error that was there when it was imported."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).addHandler(handler)
    yield text
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).removeHandler(handler)


# First lines


def test_first_lines_say_what_on_what_and_where(capsys, logged):
    run_cli("fit", *TEACHER, "--trainer.max_epochs=2", "--seed_everything=7")
    said = capsys.readouterr()
    assert said.out.splitlines()[:5] == [
        "teacher: ClassificationTask",
        "data: digits, 100 samples for training, 145 samples for validation",
        "network: ResNet, 19,830 parameters",
        "folder: logs/teacher/version_0",
        "training: 2 epochs of 4 steps, 32-true, 1 CPU core, seed 7",
    ]
    for noise in ("TPU", "GPU available", "Seed set", "Restor", "max_epochs", "Loaded model", "summary callbacks"):
        assert noise not in said.out + said.err + logged.getvalue()


def test_layers_by_hand_are_named_so(capsys):
    run_cli("fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, *SHOWN, "--trainer.max_epochs=1")
    said = capsys.readouterr().out
    assert re.search(r"^network: layers by hand, [\d,]+ parameters$", said, re.MULTILINE)
    assert re.search(r"^training: 1 epoch of \d+ steps, ", said, re.MULTILINE)


def test_a_frozen_teacher_is_named_in_a_line_and_nothing_is_said_twice(teacher_ckpt, capsys, logged):
    run_cli("fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, *SHOWN, f"--model.teacher_ckpt={teacher_ckpt}",
            "--trainer.max_epochs=1")  # fmt: skip
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "data: none for training, 145 samples from digits for validation" in lines
    assert "student: ResNet, 5,144 parameters, 25.9% of the teacher's" in lines
    assert "teacher: ResNet, 19,830 parameters, frozen" in lines
    assert len(set(lines)) == len(lines)
    everything = said.out + said.err + logged.getvalue()
    assert everything.count("5,144") == everything.count("25.9%") == 1
    assert everything.count("validation images right") == 1
    assert "Conv2d" not in said.out
    assert "multiply-adds" not in said.out


def test_the_table_of_layers_is_there_for_who_asks_and_fits_80_columns(teacher_ckpt, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.fast_dev_run=1"]
    run_cli("fit", *words, "--trainer.callbacks=NetworkSummary")
    out = capsys.readouterr().out
    assert {"student: ResNet", "generator: ImageGenerator"} <= {line.strip() for line in out.splitlines()}
    assert "teacher: ResNet  " not in out
    assert "multiply-adds" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", ["mnist_fcn", "mnist_cnn", "cifar100_fcn", "cifar100_cnn", "cifar100_resnet18"])
def test_the_courses_that_ask_for_a_summary_have_one(name):
    assert "NetworkSummary" in (ROOT / f"configs/{name}.yaml").read_text()


def test_lightnings_own_summary_can_be_asked_for(capsys, logged):
    run_cli("fit", *TEACHER, "--trainer.callbacks=RichModelSummary", "--trainer.fast_dev_run=1")
    said = capsys.readouterr()
    assert "Total params" in said.out
    assert "already configured" not in said.out + said.err + logged.getvalue()


# Without a terminal


@pytest.mark.slow
def test_a_file_gets_a_line_an_epoch_at_once_and_no_control_characters(tmp_path):
    """Also while the run goes on: a file's buffer is not waited for."""
    words = [*TEACHER, "--trainer.max_epochs=30", "--plots=false"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("said.txt", "w") as file:
        run = subprocess.Popen(
            [sys.executable, ROOT / "cli.py", "fit", *words], stdout=file, stderr=file, env=environment
        )
        while run.poll() is None and not lines_of(Path("said.txt").read_text()):
            time.sleep(0.05)
        running = run.poll() is None and "epoch 30/30" not in Path("said.txt").read_text()
        assert run.wait(timeout=120) == 0
    assert running
    said = Path("said.txt").read_text()
    assert not re.search(r"[^\n -~]", said.replace("━", "")), said
    found = [LINE.match(line) for line in lines_of(said)]
    assert all(found), said
    assert [(int(each[1]), int(each[2])) for each in found] == [(epoch, 30) for epoch in range(1, 31)]
    assert [each[5] is None for each in found] == [False] * 29 + [True]  # no time left after the last
    card = run_card("teacher")
    best = found[card["best_epoch"] - 1]
    assert best[4] == f"{card['metrics']['val/acc']:#.4g}"
    assert said.count("left on this machine") == 1


def test_an_epoch_without_validation_shows_none(capsys):
    run_cli("fit", *TEACHER, "--trainer.max_epochs=4", "--trainer.check_val_every_n_epoch=2")
    assert ["val/acc" in line for line in lines_of(capsys.readouterr().out)] == [False, True, False, True]


def test_the_metric_that_chooses_is_shown(capsys):
    words = ["--checkpoint_best.monitor=val/loss", "--checkpoint_best.mode=min", "--trainer.max_epochs=1"]
    run_cli("fit", *TEACHER, *words)
    (line,) = lines_of(capsys.readouterr().out)
    assert f"val/loss {run_card('teacher')['metrics']['val/loss']:#.4g}" in line


def test_neither_bar_nor_lines(capsys):
    run_cli("fit", *TEACHER, "--trainer.enable_progress_bar=false", "--trainer.max_epochs=2")
    out = capsys.readouterr().out
    assert lines_of(out) == []
    assert " left" not in out


def test_another_progress_bar_takes_the_place_of_ours(capsys):
    trainer = run_cli("fit", *TEACHER, "--trainer.callbacks=TQDMProgressBar", "--trainer.fast_dev_run=1").trainer
    assert type(trainer.progress_bar_callback).__name__ == "TQDMProgressBar"


@pytest.mark.slow
def test_a_resumed_run_counts_what_is_left(capsys):
    run_cli("fit", *TEACHER, "--trainer.max_epochs=2", "--test_after_fit=false")
    capsys.readouterr()
    run_cli("fit", *TEACHER, "--trainer.max_epochs=5", "--ckpt_path=last")
    out = capsys.readouterr().out
    assert "training: 3 more epochs of 4 steps" in out
    assert [line.split(",")[0] for line in lines_of(out)] == ["epoch 3/5", "epoch 4/5", "epoch 5/5"]
    assert re.search(r"about \d+ s left on this machine for 2 epochs at this pace\n", out)


def test_a_fast_dev_run_says_no_time_and_no_folder(capsys):
    run_cli("fit", *TEACHER, "--trainer.fast_dev_run=1")
    out = capsys.readouterr().out
    assert "folder:" not in out
    assert " left" not in out
    assert "next:" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainer.max_epochs=-1", "--trainer.max_steps=10"], r"about \d+ s left on this machine\n"),
        (["--trainer.max_epochs=-1", "--trainer.max_time=00:00:00:05", "--trainer.limit_train_batches=1"],
         r"about [0-5] s left on this machine\n"),
        (["--trainer.max_epochs=3", "--trainer.limit_train_batches=1"], r"for 2 epochs at this pace\n"),
        (["--trainer.max_epochs=3", "--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/loss",
          "--trainer.callbacks.patience=9"], r"\nat most \d+ s left on this machine for 2 epochs"),
    ],
)  # fmt: skip
def test_other_ends_of_a_run(words, said, capsys):
    run_cli("fit", *TEACHER, *words, "--plots=false", "--test_after_fit=false")
    out = capsys.readouterr().out
    assert re.search(said, out), out
    assert "-1" not in out
    assert "inf" not in out
    assert "nan" not in out


# How long


# In a terminal


def test_a_terminal_has_a_bar_and_all_else_lines():
    assert isinstance(bars.progress(Console(force_terminal=True, _environ={"TERM": "xterm"}))[1], CompactProgressBar)
    for console in (Console(force_terminal=True, _environ={"TERM": "dumb"}), Console(file=open(os.devnull, "w"))):  # noqa: SIM115
        assert isinstance(bars.progress(console)[1], ProgressLines)


@pytest.fixture
def in_terminal(children, tmp_path):
    """What a command writes to a terminal of 80 columns."""

    def run(*words):
        reader, writer = pty.openpty()
        said = []

        def read():
            with contextlib.suppress(OSError):  # closed at the other end
                while part := os.read(reader, 65536):
                    said.append(part)

        reading = threading.Thread(target=read)
        reading.start()
        environment = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        done = children.run(words, tmp_path, terminal=os.ttyname(writer), environment=environment)
        os.close(writer)
        reading.join()
        os.close(reader)
        text = b"".join(said).decode()
        assert done.status == 0, text
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")

    return run


def test_every_line_of_a_terminal_fits_80_columns(teacher_ckpt, in_terminal):
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, *SHOWN, f"--model.teacher_ckpt={teacher_ckpt}"]
    words += ["--model.objective.losses=[{class_path: OneHotLoss, init_args: {weight: 1.0}}]", "--plots=false"]
    said = in_terminal("fit", *words, "--trainer.max_epochs=3", "--model.generator_training.pretrain_epochs=1")
    bars_seen = [line for line in said.splitlines() if line.startswith("Epoch")]
    assert "Epoch 3/3" in bars_seen[-1]
    assert re.search(r"━ 2/2 \d+ s student: \d.*val/acc: \d", bars_seen[-1]), bars_seen[-1]
    assert re.search(r"generator: -?\d", "".join(each for each in bars_seen if each.startswith("Epoch 1/3")))
    assert not [line for line in bars_seen if "Epoch 0" in line]
    own = [line for line in said.splitlines() if not line.startswith(("teacher: /", "      python", "next:"))]
    assert max(map(len, own)) <= 80, max(own, key=len)
    assert "epoch 1/3, " not in said  # no lines too


def test_the_widest_bar_fits_80_columns(monkeypatch):
    """Of a long run: hundreds of epochs and steps, hours left, and long names of the numbers."""
    bar = CompactProgressBar(Clock())
    trainer = pretend(bar.clock, Host(monkeypatch), [300.0], is_last_batch=False, training=True)
    trainer.current_epoch, trainer.max_epochs, trainer.num_training_batches = 99, 500, 391
    trainer.state, trainer.sanity_checking, trainer.checkpoint_callbacks = SimpleNamespace(fn="fit"), False, []
    trainer.progress_bar_metrics = {"loss_generator": -1234.5678}
    trainer.callback_metrics = {"val/agreement": torch.tensor(0.98766)}
    bar.setup(trainer, None, "fit")
    bar.on_validation_end(trainer, SimpleNamespace(monitor="val/agreement"))
    bar.on_train_epoch_end(trainer, None)
    monkeypatch.setenv("TERM", "xterm")
    console = Console(width=80, force_terminal=True, record=True, file=io.StringIO())
    columns = *bar.configure_columns(trainer), TextColumn("{task.fields[metrics]}")
    bar.progress = CustomProgress(*columns, console=console)
    bar.on_train_epoch_start(trainer, None)
    metrics = " ".join(f"{name}: {value}" for name, value in bar.get_metrics(trainer, None).items())
    bar.progress.update(bar.train_progress_bar_id, completed=390, metrics=metrics)
    console.print(bar.progress.get_renderable())
    (line,) = [line.rstrip() for line in console.export_text().splitlines() if line.strip()]
    assert line == "Epoch 100/500 ━━━╸ 390/391 33.3 h left generator: -1235. val/agreement: 0.9877"
    assert len(line) <= 80


def test_the_bar_reads_no_number_between_log_steps(monkeypatch):
    """Each would make the host wait for the device."""
    read = []
    monkeypatch.setattr("lightning_tasks.callbacks.standard.Console", lambda: Console(force_interactive=True))
    monkeypatch.setattr(bars, "training_loss", lambda trainer: read.append(trainer.fit_loop.batch_idx) or {})
    cli = run_cli("fit", *TEACHER, "--trainer.max_epochs=1", "--trainer.log_every_n_steps=3", "--test_after_fit=false",
                  "--data.batch_size=10")  # fmt: skip
    assert isinstance(cli.trainer.progress_bar_callback, CompactProgressBar)
    assert read == [3, 6, 9, 9]  # after each third batch, and at the end of the epoch


# The end


def test_only_the_first_process_speaks(children, tmp_path):
    """Two processes on a CPU: each line once."""
    done = children.run_two(["fit", *TEACHER, "--trainer.devices=2", "--trainer.max_epochs=2"], tmp_path)
    assert [each.status for each in done] == [0, 0], done
    for start in (
        "teacher: ClassificationTask",
        "data: ",
        "folder: ",
        "training: ",
        "epoch 1/2, l",
        "run card: ",
        "next: ",
    ):
        assert sum(line.startswith(start) for each in done for line in each.out.splitlines()) == 1, start
    for noise in ("GLOBAL_RANK", "distributed_backend", "Seed set"):
        assert not [each for each in done if noise in each.out + each.err]


@pytest.mark.slow
def test_what_is_said_changes_no_figure_and_no_identity(capsys):
    torch.manual_seed(0)
    cards = []
    for words in (SHOWN, ["--trainer.callbacks=NetworkSummary"], []):
        run_cli("fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, *words, "--trainer.max_epochs=2")
        cards.append(run_card("teacher", len(cards)))
    assert cards[0]["metrics"] == cards[1]["metrics"] == cards[2]["metrics"]
    assert cards[0]["config_hash"] == cards[1]["config_hash"] == cards[2]["config_hash"]
