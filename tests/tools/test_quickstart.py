"""make quickstart: its two runs and what it prints."""

import json
import os
import re
from pathlib import Path

import pytest
from helpers.commands import ROOT

from lightning_tasks.cli.needs import CHAIN
from lightning_tasks.runs.identity import option_args
from tools import quickstart


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Record the command lines, and leave a card of each run."""
    monkeypatch.setattr(quickstart, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(quickstart.os, "chdir", lambda folder: None)
    monkeypatch.setenv(CHAIN, "")
    recorded = []

    def fake_main(words):
        recorded.append(words)
        options = dict(word.removeprefix("--").split("=", 1) for word in option_args(words[1:]))
        run = tmp_path / "logs" / options["experiment"] / "version_0"
        run.mkdir(parents=True, exist_ok=True)
        teacher = options.get("model.teacher_ckpt")
        card = {"parameters": {"student": 200}, "metrics": {"test/acc": 0.9814}, "seconds": 3.0}
        if teacher is None:
            card |= {"parameters": {"network": 1000}, "metrics": {"test/acc": 0.9906}}
        else:
            card["teacher_ckpt"] = f"{teacher}/checkpoints/best.ckpt"
        (run / "run.json").write_text(json.dumps(card))

    monkeypatch.setattr(quickstart, "main", fake_main)
    return recorded


def test_runs_what_is_missing_and_prints_the_table(commands, tmp_path, capsys):
    quickstart.quickstart()
    out = capsys.readouterr().out
    configs = [next(word for word in words if word.startswith("--config=")) for words in commands]
    assert configs == ["--config=configs/teacher_digits.yaml", "--config=configs/dfad_plus_digits.yaml"]
    assert not any("--ckpt_path=last" in words for words in commands)  # of which there is none
    assert out.index("1 of 2: a teacher") < out.index("2 of 2: a student") < out.index("20.0%")
    assert "98.14%" in out
    assert os.environ[CHAIN]  # what comes next is the quick start's to say
    assert "quickstart_student/version_0/figures" in out
    newer = tmp_path / "logs/quickstart_teacher/version_1"
    newer.mkdir()
    newest = {"parameters": {"network": 1}, "metrics": {"test/acc": 0.11}, "seconds": 1}
    (newer / "run.json").write_text(json.dumps(newest))
    quickstart.quickstart()
    assert len(commands) == 2  # nothing is trained twice
    assert "11.00%" not in capsys.readouterr().out  # the student's own teacher is shown, not the newest


def test_goes_on_with_what_has_begun(commands, tmp_path):
    run = tmp_path / "logs/quickstart_teacher/version_0"
    run.mkdir(parents=True)
    assert quickstart.train_teacher() == run
    assert commands[0][-1] == "--ckpt_path=last"


def test_the_readme_shows_what_it_prints(commands, capsys, monkeypatch):
    """The same lines with other numbers, and no line that is broken at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(quickstart, "LOGS", Path("logs"))
    monkeypatch.chdir(quickstart.LOGS.resolve().parent)
    quickstart.quickstart()
    printed = capsys.readouterr().out.partition("Data-free distillation on digits")
    shown = (ROOT / "README.md").read_text().partition("Data-free distillation on digits")
    lines = [[re.sub(r"[\d,.]+", "N", line.rstrip()) for line in text[2].splitlines()] for text in (printed, shown)]
    assert len(lines[0]) == 11
    for ours, theirs in zip(lines[0], lines[1], strict=False):
        assert re.sub(" +", " ", ours) == re.sub(" +", " ", theirs)
    assert max(map(len, printed[2].splitlines())) <= 80
