"""Runs that are not what they seem: trained longer, of another seed, task or split."""

import json
from pathlib import Path

import pytest
from helpers.commands import ROOT, TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, run_card, run_cli

from datamodules import DigitsDataModule
from lightning_tasks import ClassificationTask
from lightning_tasks.cli.needed_run import NeededRun
from lightning_tasks.cli.parser import task_parser
from lightning_tasks.runs.data_spec import require_equal
from lightning_tasks.runs.identity import read_run

WORDS = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]
RUN = Path("logs/teacher/version_0")


def test_a_finished_run_that_is_trained_longer_is_unfinished(capsys):
    """Else its old card would stand for the new weights; the next resume goes on from where it was stopped."""
    run_cli("fit", *WORDS)
    former = run_card("teacher")
    run_cli("fit", *WORDS, "--trainer.max_epochs=3", "--ckpt_path=last", "--test_after_fit=false")
    assert not (RUN / "run.json").exists()
    assert json.loads((RUN / "run.before.json").read_text()) == former
    needed = NeededRun("t", RUN.parent, (ROOT / "configs/teacher.yaml", Path("logs")), 42, [], task_parser())
    needed.wanted = read_run(task_parser(), RUN)[1]
    assert (needed.find(), needed.begun) == (None, [RUN])
    capsys.readouterr()
    run_cli("fit", *WORDS, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert "is finished" not in capsys.readouterr().out
    assert run_card("teacher")["epochs"] == 3


def test_a_longer_training_that_is_refused_leaves_the_card(monkeypatch):
    run_cli("fit", *WORDS)
    card = (RUN / "run.json").read_bytes()

    def refuse(self):
        raise ValueError("too late")

    monkeypatch.setattr(ClassificationTask, "on_fit_start", refuse, raising=False)
    with pytest.raises(ValueError, match="too late"):
        run_cli("fit", *WORDS, "--trainer.max_epochs=3", "--ckpt_path=last")
    assert (RUN / "run.json").read_bytes() == card


def test_a_seed_that_is_drawn_is_not_seed_1(capsys):
    run_cli("fit", *WORDS, "--seed_everything=1", "--test_after_fit=false")
    run_cli("fit", *WORDS, "--seed_everything=true", "--ckpt_path=last", "--test_after_fit=false")
    assert "no run to resume" in capsys.readouterr().out


def test_a_run_of_another_task_is_no_obstacle(teacher_ckpt):
    """It has no teacher that could be another."""
    run_cli("fit", *WORDS, "--experiment=mixed", "--test_after_fit=false")
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--experiment=mixed", f"--model.teacher_ckpt={teacher_ckpt}"]
    with pytest.raises(ValueError, match="was made with other options"):
        run_cli("fit", *words, "--ckpt_path=last")


def test_test_images_of_another_split_are_refused():
    """Of those that one split tests, another trains on."""
    first, second = (DigitsDataModule(split="80:20", split_seed=seed).data_spec for seed in (0, 1))
    with pytest.raises(ValueError, match=r"^x with parts split 80:20, seed 0; this run has split 80:20, seed 1$"):
        require_equal(first, second, "x")
    older = {name: value for name, value in first.items() if name != "parts"}
    require_equal(older, second, "x")
    run_cli("fit", *WORDS, "--data.split_seed=1", "--test_after_fit=false")
    with pytest.raises(ValueError, match=r"seed 1; this run has split \S+, seed 0"):
        run_cli("test", *WORDS, "--ckpt_path=best")
