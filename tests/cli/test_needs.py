"""Configs that need the run of another: found by seed and configuration, or trained first."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from helpers.commands import ROOT, TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, write_config
from jsonargparse import Namespace

from lightning_tasks.cli.needed_run import NeededRun
from lightning_tasks.cli.needs import _require_buildable
from lightning_tasks.cli.parser import task_parser

TEACHER = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=2"]
STUDENT = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", "--model.teacher_ckpt=logs/teacher"]


@pytest.fixture
def configs(tmp_path):
    write_config("teacher", TEACHER)
    write_config("dfad", STUDENT)
    return tmp_path


def card(experiment, version=0):
    return json.loads(Path(f"logs/{experiment}/version_{version}/run.json").read_text())


def fit(children, folder, *words, config="dfad", **options):
    return children.run(["fit", f"--config=configs/{config}.yaml", *words], folder, **options)


def test_what_is_missing_is_trained_first_and_found_the_next_time(configs, children):
    done = fit(children, configs)
    assert done.status == 0, done.err
    assert "teacher_ckpt: configs/teacher.yaml with seed 42 has not been run; training it first" in done.out
    assert card("dfad")["teacher_ckpt"].endswith("teacher/version_0/checkpoints/best.ckpt")
    assert done.out.count("next: ") == 1
    again = fit(children, configs)
    assert again.status == 0, again.err
    assert "first" not in again.out
    assert not Path("logs/teacher/version_1").exists()
    assert card("dfad", 1)["teacher_sha256"] == card("dfad")["teacher_sha256"]


@pytest.mark.slow
def test_a_seed_has_a_teacher_of_its_own(configs, children):
    for words in ([], ["--seed_everything=1"], ["--seed_everything", "1"]):
        done = fit(children, configs, *words)
        assert done.status == 0, done.err
    assert [card("teacher", version)["seed"] for version in (0, 1)] == [42, 1]
    assert not Path("logs/teacher/version_2").exists()
    of = [card("dfad", version)["teacher_ckpt"].split("/")[-3] for version in range(3)]
    assert of == ["version_0", "version_1", "version_1"]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(configs, children):
    """First the teacher, from its last checkpoint."""
    done = fit(children, configs, config="teacher", dies_at=["last.ckpt", 2])
    assert done.status == -signal.SIGXFSZ
    assert Path("logs/teacher/version_0/checkpoints/last.ckpt").exists()
    done = fit(children, configs)
    assert done.status == 0, done.err
    assert "configs/teacher.yaml with seed 42 is unfinished; resuming it first" in done.out
    assert card("teacher")["epochs"] == 2
    assert not Path("logs/teacher/version_1").exists()
    whole = configs / "whole"
    whole.mkdir()
    (whole / "configs").symlink_to(configs / "configs")
    assert fit(children, whole, config="teacher").status == 0
    ours, theirs = (torch.load(folder / "logs/teacher/version_0/checkpoints/last.ckpt") for folder in (configs, whole))
    assert all(torch.equal(value, theirs["state_dict"][name]) for name, value in ours["state_dict"].items())


@pytest.mark.slow
def test_other_options_are_refused_and_the_ways_out_are_named(configs, children):
    assert fit(children, configs, "--trainer.max_epochs=1", config="teacher").status == 0
    done = fit(children, configs)
    assert done.status == 1
    line = done.err.splitlines()[-1]
    assert "logs/teacher/version_0 was made with other options than configs/teacher.yaml has now" in line
    assert "(trainer.max_epochs 1 there, 2 here); --model.teacher_ckpt=logs/teacher/version_0 takes it" in line
    done = fit(children, configs, "--model.teacher_ckpt=logs/teacher/version_0")
    assert done.status == 0, done.err
    done = children.run(line[line.index("fit --config") :].removesuffix(" makes another").split(), configs)
    assert done.status == 0, done.err
    assert fit(children, configs).status == 0
    assert card("dfad", 1)["teacher_ckpt"].split("/")[-3] == "version_1"


@pytest.mark.slow
def test_a_teacher_of_another_precision_is_another(configs, children):
    assert fit(children, configs, "--trainer.precision=bf16-true", config="teacher").status == 0
    done = fit(children, configs)
    assert done.status == 1
    assert "(trainer.precision bf16-true there, " in done.err.splitlines()[-1]


@pytest.mark.slow
def test_a_chain_of_three(configs, children):
    write_config(
        "second", [*STUDENT, "--model.teacher.width=2", "--model.teacher_ckpt=logs/dfad", "--experiment=second"]
    )
    done = fit(children, configs, config="second")
    assert done.status == 0, done.err
    assert card("second")["teacher_ckpt"].endswith("dfad/version_0/checkpoints/best.ckpt")
    assert card("dfad")["teacher_ckpt"].endswith("teacher/version_0/checkpoints/best.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 2])
def test_a_circle_is_refused(tmp_path, children, length):
    write_config("dfad", [*STUDENT, f"--model.teacher_ckpt=logs/{'dfad' if length == 1 else 'other'}"])
    write_config("other", [*STUDENT, "--model.teacher_ckpt=logs/dfad", "--experiment=other"])
    done = fit(children, tmp_path)
    assert done.status == 1
    between = "" if length == 1 else "configs/other.yaml -> "
    line = done.err.splitlines()[-1]
    assert line.endswith(f"configs need each other: configs/dfad.yaml -> {between}configs/dfad.yaml")
    assert not list(Path().glob("logs/*/version_*"))
    if length == 1:
        assert not Path("logs").exists()


def test_it_may_be_left_to_the_user(configs, children):
    chosen = ["--data.train_per_class=9", "--data.split=80:20", "--data.num_workers=0"]
    done = fit(children, configs, "--prepare=false", "--seed_everything=3", *chosen, "--plots", "false")
    assert done.status == 1
    assert done.err.splitlines()[-1] == (
        "error: teacher_ckpt: no run of configs/teacher.yaml with seed 3 in logs/teacher; python cli.py fit"
        " --config=configs/teacher.yaml --plots=false --seed_everything=3 --data.split=80:20 makes it"
    )
    assert not Path("logs").exists()


@pytest.mark.parametrize(
    ("config", "word", "expected"),
    [
        ("tinyimagenet_teacher", "--data.num_classes=40", 40),
        ("quickdraw_recogniser", "--data.words=[moon, lion]", ["moon", "lion"]),
        ("teacher_digits", "--data.split=70:30", "70:30"),
        ("teacher_digits", "--data.split_seed=5", 5),
        ("quickdraw_recogniser", "--data.drawings_per_word=425", 425),
        ("quickdraw_recogniser", "--data.val_fraction=0.2", 0.2),
        ("teacher_digits", "--data.val_fraction=0.2", 0.1),  # which decides no test image
        ("teacher_digits", "--data.num_classes=40", None),  # its data have no such option
        ("tinyimagenet_teacher", "--data.batch_size=7", 128),  # its own
    ],
)
def test_it_has_the_same_classes_and_test_set(config, word, expected):
    made = ROOT / f"configs/{config}.yaml", Path("logs")
    needed = NeededRun("teacher_ckpt", Path("logs") / config, made, 42, ["fit", word], task_parser())
    name = word.partition("=")[0].removeprefix("--data.")
    assert needed.wanted["data"]["init_args"].get(name) == expected


@pytest.mark.slow
def test_one_that_fails_ends_the_run_with_its_line(configs, children):
    write_config("teacher", TEACHER, data={"class_path": "ImageFolderDataModule", "init_args": {"folder": "nosuch"}})
    done = fit(children, configs)
    assert done.status == 1
    assert [line for line in done.err.splitlines() if line.startswith("error: ")] == [done.err.splitlines()[-1]]
    assert "nosuch" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--model.student_training.reconstruct=true", "student_training.reconstruct: it needs images of a pretrained"),
        ("--model.memory_bank={class_path: MemoryBank, init_args: {size: 1}}", "memory_bank.size must be at least"),
        ("--trainer.callbacks+={class_path: GeneratedPlot, init_args: {every_n_epochs: 0}}", "every_n_epochs must be"),
        ("--data.val_fraction=2", "val_fraction must be between 0 and 1, got 2"),
    ],
)
def test_options_that_cannot_be_are_refused_before_another_is_trained(configs, children, word, said):
    done = fit(children, configs, word)
    assert done.status == 1
    assert len(done.err.splitlines()) == 1, done.err
    assert said in done.err
    assert "training it first" not in done.out
    assert not list(Path("logs").glob("*/version_*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is forked")
def test_parts_are_built_in_a_process_of_their_own(tmp_path):
    """A fork of a process whose threads have computed hangs as soon as its own are to."""

    class Parser:
        def instantiate_classes(self, config):
            assert config.fit.trainer.logger is None
            Path("process").write_text(str(os.getpid()))

    config = Namespace(model=Namespace(init_args=Namespace()), trainer=Namespace(logger=True))
    _require_buildable(config, Parser())
    assert int(Path("process").read_text()) != os.getpid()
    assert config.trainer.logger


@pytest.mark.slow
def test_one_that_another_process_trains_is_waited_for(configs, children):
    assert fit(children, configs, config="teacher").status == 0
    run = Path("logs/teacher/version_0")
    (run / "run.json").rename(run / "later.json")
    lock = FileLock(run / "run.lock")
    lock.acquire()
    child = children.start(["fit", "--config=configs/dfad.yaml"], configs)
    time.sleep(3)
    assert not Path("logs/dfad").exists()
    (run / "later.json").rename(run / "run.json")
    lock.release()
    done = children.finish(child)
    assert done.status == 0, done.err
    assert "teacher_ckpt: another process trains logs/teacher/version_0; waiting for it" in done.out
    assert not Path("logs/teacher/version_1").exists()


def test_two_that_need_it_at_once_train_it_once(configs, children):
    waiting = [children.start(["fit", "--config=configs/dfad.yaml", "--experiment", name], configs) for name in "ab"]
    done = [children.finish(child) for child in waiting]
    assert [each.status for each in done] == [0, 0], done
    assert sorted("training it first" in each.out for each in done) == [False, True]
    assert not Path("logs/teacher/version_1").exists()
    assert card("a")["teacher_sha256"] == card("b")["teacher_sha256"]


@pytest.mark.parametrize(
    "words", [["test"], ["validate"], ["fit", "--trainer.max_epochs=2"]], ids=lambda words: words[0]
)
def test_a_student_that_was_moved_finds_its_teacher(configs, children, words):
    """Its checkpoint has the path of its time. Another teacher that lies there is refused."""
    assert fit(children, configs).status == 0
    moved = configs / "moved"
    moved.mkdir()
    for folder in ("logs", "configs"):
        (configs / folder).rename(moved / folder)
    where = "last" if words[0] == "fit" else "best"
    command = [words[0], "--config=configs/dfad.yaml", *words[1:], f"--ckpt_path={where}"]
    done = children.run(command, moved)
    assert done.status == 0, done.err
    if words[0] == "fit":
        assert json.loads((moved / "logs/dfad/version_0/run.json").read_text())["teacher_ckpt"].startswith(str(moved))
    assert children.run(["fit", "--config=configs/teacher.yaml", "--seed_everything=3"], moved).status == 0
    other = [*command, "--model.teacher_ckpt=logs/teacher/version_1"]
    done = children.run(other, moved)
    assert done.status == 1
    assert "teacher_ckpt" in done.err.splitlines()[-1]
    assert "is another teacher" in done.err or "logs/teacher/version_1 here" in done.err


@pytest.mark.slow
def test_sigterm_ends_both_and_the_teacher_can_go_on(configs, children):
    write_config("teacher", [*TEACHER, "--trainer.max_epochs=500"])
    child = children.start(["fit", "--config=configs/dfad.yaml"], configs)
    last = Path("logs/teacher/version_0/checkpoints/last.ckpt")
    while not last.exists():
        time.sleep(0.05)
    os.kill(child, signal.SIGTERM)
    assert children.finish(child).status == 143
    FileLock("logs/teacher/version_0/run.lock").acquire(timeout=5)
    assert not Path("logs/dfad").exists()
