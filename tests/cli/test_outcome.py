"""The last lines of a run: its result, and the commands that come next."""

import re

import pytest
from helpers.commands import SHOWN, TINY_BY_HAND, TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, run_card, run_cli

TEACHER = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, *SHOWN, "--plots=true"]


def test_the_result_stands_beside_the_validation_of_the_same_weights(capsys):
    run_cli("fit", *TEACHER, "--trainer.max_epochs=4", "--trainer.callbacks=CurvesPlot")
    lines = capsys.readouterr().out.splitlines()
    card = run_card("teacher")
    (head,) = [index for index, line in enumerate(lines) if "validation" in line and "test" in line]
    assert lines[head].split() == ["best", "val/acc:", "epoch", f"{card['best_epoch']}/4", "test", "validation"]
    metrics = card["metrics"]
    assert lines[head + 1].split() == ["acc", f"{metrics['test/acc']:#.4g}", f"{metrics['val/acc']:#.4g}"]
    assert lines[head + 2 :] == [
        "figures: logs/teacher/version_0/figures",
        "run card: logs/teacher/version_0/run.json",
        "next: python cli.py export --ckpt logs/teacher/version_0",
        "      tensorboard --logdir logs/teacher",
    ]


def test_a_folder_elsewhere_is_shown_in_full_and_quoted_in_commands(capsys, tmp_path, monkeypatch):
    """The space in it would split a command; one epoch of one step is no "steps"."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = [
        f"--trainer.default_root_dir={tmp_path}/my runs",
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=1",
    ]
    run_cli("fit", *TEACHER, *words, "--trainer.limit_test_batches=1.0")
    out, run = capsys.readouterr().out, f"{tmp_path}/my runs/teacher/version_0"
    assert f"folder: {run}\n" in out
    assert "training: 1 epoch of 1 step, " in out
    assert f"run card: {run}/run.json\n" in out
    assert f"next: python cli.py export --ckpt '{run}'\n" in out
    assert f"tensorboard --logdir '{tmp_path}/my runs/teacher'\n" in out


def test_a_network_by_hand_cannot_be_exported(capsys):
    run_cli("fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, *SHOWN, "--trainer.max_epochs=1")
    assert "next: tensorboard --logdir logs/" in capsys.readouterr().out


@pytest.mark.slow
def test_a_student_is_compared_with_its_teacher(capsys):
    run_cli("fit", *TEACHER, "--trainer.max_epochs=1")
    capsys.readouterr()
    words = ["--model.teacher_ckpt=logs/teacher", "--trainer.max_epochs=1", "--trainer.limit_test_batches=1"]
    run_cli("fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, *words)
    out = capsys.readouterr().out
    card = run_card("dfad")
    assert re.search(rf"\nacc_teacher +{card['metrics']['test/acc_teacher']:#.4g} *\n", out)
    assert "      python cli.py compare logs/dfad/version_0 logs/teacher/version_0\n" in out
    assert "not a result\n" in out


@pytest.mark.slow
def test_a_second_run_is_compared_with_the_first(capsys):
    for _ in range(2):
        run_cli("fit", *TEACHER, "--trainer.max_epochs=1", "--trainer.logger=false")
    out = capsys.readouterr().out
    assert out.count("compare logs/teacher/version_1 logs/teacher/version_0\n") == 1
    assert "tensorboard" not in out


@pytest.mark.slow
def test_what_comes_next_can_be_run(capsys):
    """An untested run is tested; a run is exported and compared: the commands are those that are printed."""
    import shlex

    run_cli("fit", *TEACHER, "--trainer.max_epochs=1", "--test_after_fit=false")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: "))
    assert words[:2] == ["python", "cli.py"]
    assert "test/acc" in run_cli(*words[2:], "--trainer.callbacks=ConfusionPlot").trainer.callback_metrics
    assert capsys.readouterr().out.splitlines()[-1] == "figures: logs/teacher/version_1/figures"
