"""Errors whose remedy is a command name it."""

import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, TINY_DATA, TINY_TEACHER, TINY_TRAINER, run_cli

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.compare.table import find_cards
from lightning_tasks.runs.checkpoints import find_checkpoint
from lightning_tasks.runs.errors import OneLineErrorParser, describe, name_extra
from lightning_tasks.runs.remedies import find_config, how_to_make
from lightning_tasks.sketch.sketcher import Sketcher

MAKES = "; python cli.py fit --config configs/teacher.yaml makes it"
GOES_ON = "; python cli.py fit --config configs/teacher.yaml --ckpt_path last resumes "
FOLDERS = ("logs/teacher", "logs/teacher/version_3", "logs/teacher/version_3/checkpoints/best.ckpt")


@pytest.fixture(autouse=True)
def configs():
    """The configs of the project, in the current folder."""
    Path("configs").symlink_to(ROOT / "configs")


@pytest.mark.parametrize("place", FOLDERS)
def test_a_missing_run_is_made_by_the_config_of_its_experiment(place):
    assert how_to_make(place) == MAKES
    assert how_to_make(Path(place).resolve()) == MAKES


@pytest.mark.parametrize("place", ["nosuch", "nosuch.ckpt", ".", "/", "logs/nosuch", "logs", "logs/teacher/a/b"])
def test_what_no_config_makes_has_no_command(place):
    assert how_to_make(place) == ""


def test_an_unfinished_run_is_gone_on_with():
    last = Path("logs/teacher/version_1/checkpoints/last.ckpt")
    last.parent.mkdir(parents=True)
    last.touch()
    assert how_to_make("logs/teacher") == f"{GOES_ON}logs/teacher/version_1"
    (last.parent.parent / "run.json").write_text("{}")
    assert how_to_make("logs/teacher/version_2") == MAKES


def test_other_logs_are_named():
    assert how_to_make("elsewhere/teacher") == (
        "; python cli.py fit --config configs/teacher.yaml --trainer.default_root_dir elsewhere makes it"
    )


def test_folders_with_spaces_are_quoted(monkeypatch):
    Path("my configs").mkdir()
    Path("my configs/own.yaml").write_text("experiment: own\n")
    monkeypatch.setattr(sys, "argv", ["cli.py", "fit", "--config", "my configs/own.yaml"])
    assert how_to_make("my runs/own") == (
        "; python cli.py fit --config 'my configs/own.yaml' --trainer.default_root_dir 'my runs' makes it"
    )


def test_a_config_is_found_by_the_experiment_that_it_says(monkeypatch):
    Path("mine").mkdir()
    Path("mine/a.yaml").write_text("experiment: other  # not of this name\n")
    Path("mine/teacher.yaml").write_text("experiment: not_teacher\n")
    Path("mine/z.yaml").write_text('experiment: "group/own"\n')
    Path("mine/used.yaml").write_text("model: {}\n")
    assert find_config("group/own") is None
    monkeypatch.setattr(sys, "argv", ["cli.py", "fit", "--config", "mine/used.yaml"])
    assert find_config("group/own") == Path("mine/z.yaml")
    assert find_config("other") == Path("mine/a.yaml")
    assert find_config("teacher") == Path("configs/teacher.yaml")
    assert how_to_make("logs/group/own").startswith("; python cli.py fit --config mine/z.yaml makes")


def words_of(*words):
    return [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, *words]


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (lambda: run_cli("fit", f"--config={ROOT}/configs/dfad_digits.yaml", "--prepare=false"), "teacher_digits"),
        (lambda: run_cli("test", *words_of()), "teacher"),
        (lambda: run_cli("test", *words_of("--ckpt_path=last")), "teacher"),
        (lambda: run_cli("test", *words_of("--ckpt_path=logs/teacher/version_0/checkpoints/best.ckpt")), "teacher"),
        (lambda: run_cli("fit", *words_of("--model.network_ckpt=logs/teacher")), "teacher"),
        (lambda: find_checkpoint("logs/teacher", "recogniser_ckpt"), "teacher"),
        (lambda: find_cards([Path("logs/teacher")], task_parser()), "teacher"),
        (lambda: Sketcher.from_checkpoint("logs/quickdraw_mixture"), "quickdraw_mixture"),
    ],
    ids=["teacher", "test without", "test last", "test file", "network", "recogniser", "compare", "live"],
)
def test_each_error_ends_with_the_command(call, place):
    with pytest.raises((ValueError, OSError)) as error:
        call()
    line = describe(error.value)
    options = f"--config configs/{place}.yaml"
    if place == "teacher_digits":  # of the same seed
        options = f"--config=configs/{place}.yaml --seed_everything=42"
    assert line.endswith(f"; python cli.py fit {options} makes it"), line
    assert len(line) < 400
    assert "\n" not in line


def test_export_of_a_missing_run():
    from lightning_tasks.export.export import export

    with pytest.raises(FileNotFoundError, match=r"fit --config configs/teacher\.yaml makes it$"):
        export("logs/teacher", None, False, "", "")


def test_a_test_without_a_checkpoint_may_take_the_newest_run():
    run_cli("fit", *words_of("--trainer.max_epochs=1", "--test_after_fit=false"))
    with pytest.raises(ValueError, match=r"; the same command with --ckpt_path best takes it$"):
        run_cli("test", *words_of())
    with pytest.raises(FileNotFoundError, match=r"--ckpt_path last resumes logs/teacher/version_0$"):
        find_checkpoint("logs/teacher", "teacher_ckpt")


@pytest.mark.slow
def test_a_finished_run_says_how_it_can_be_trained_longer(capsys):
    words = words_of("--trainer.max_epochs=1")
    run_cli("fit", *words)
    with pytest.raises(SystemExit):
        run_cli("fit", *words, "--ckpt_path=last")
    assert "its run card stands; a greater --trainer.max_epochs trains it longer\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["fit"]])
def test_a_command_without_words_gets_an_example(words, capsys):
    with pytest.raises(SystemExit):
        run_cli(*words)
    line = capsys.readouterr().err
    assert line.endswith("; for example: python cli.py fit --config configs/teacher_digits.yaml\n")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("No module named 'timm'", "No module named 'timm'; pip install 'lightning-tasks[external]'"),
        ("No module named 'timm.models'", "No module named 'timm.models'; pip install 'lightning-tasks[external]'"),
        (
            "Requirement 'wandb>=0.12.10' not met. HINT: Try running `pip install -U 'wandb>=0.12.10'`",
            "Requirement 'wandb>=0.12.10' not met; pip install 'lightning-tasks[loggers]'",
        ),
        ("No module named 'mine'", "No module named 'mine'"),
        ("No module named 'timm'; pip install 'lightning-tasks[external]'",) * 2,
    ],
)
def test_a_missing_package_names_its_extra(said, line, capsys):
    assert name_extra(said) == describe(ImportError(said)) == line
    with pytest.raises(SystemExit):
        OneLineErrorParser().error(said)
    assert capsys.readouterr().err == f"error: {line}\n"
