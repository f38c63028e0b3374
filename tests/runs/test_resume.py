"""A killed run that is resumed ends with the same weights, to the bit, as one that was not killed."""

import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import (
    TINY_BY_HAND,
    TINY_DATA,
    TINY_DFAD,
    TINY_TEACHER,
    TINY_TRAINER,
    few_fast,
    files,
    refusal,
    run_card,
    run_cli,
)

from lightning_tasks.callbacks import CurvesPlot
from lightning_tasks.runs.folders import lock_run
from lightning_tasks.runs.identity import differences

PLACES = {
    "in the first epoch": ("lightning_tasks.DFADTask.training_step", 2),
    "in the third epoch": ("lightning_tasks.DFADTask.training_step", 2 * 2 + 1),
    "in validation": ("lightning_tasks.DFADTask.validation_step", 7),
    "while a checkpoint is written": ("last.ckpt", 2),
    "between a checkpoint and its name": ("os.replace", 5),
    "after the last epoch": ("lightning_tasks.callbacks.RunCard.on_fit_end", 1),
}


@pytest.fixture
def kill(children, tmp_path):
    """Run a command, and kill it when it comes by a place for the n-th time."""

    def run(words, place, times):
        done = children.run(words, tmp_path, dies_at=(place, times))
        assert done.status in (-signal.SIGKILL, -signal.SIGXFSZ), done.err

    return run


def assert_same_training_state(ours, theirs):
    ours, theirs = (torch.load(path, weights_only=True) for path in (ours, theirs))
    assert ours["epoch"] == theirs["epoch"]
    for name, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value), name
    for a, b in zip(ours["optimizer_states"], theirs["optimizer_states"], strict=True):
        assert a["param_groups"] == b["param_groups"]
        for index, state in b["state"].items():
            assert all(
                torch.equal(torch.as_tensor(a["state"][index][k]), torch.as_tensor(v))
                for k, v in state.items()
                if v is not None
            )
    assert ours["lr_schedulers"] == theirs["lr_schedulers"]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """What is drawn counts here, and not the drawing."""
    monkeypatch.setattr(CurvesPlot, "on_fit_end", lambda *_: None)


@pytest.fixture(scope="module")
def dfad_words(teacher_ckpt):
    return [
        "fit",
        *TINY_DFAD,
        *TINY_DATA,
        *TINY_TRAINER,
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--model.student_training.scheduler=torch.optim.lr_scheduler.CosineAnnealingLR",
        "--model.student_training.scheduler.T_max=4",
        "--trainer.max_epochs=4",
        "--plots=true",
        "--trainer.callbacks=CurvesPlot",
    ]


@pytest.fixture(scope="module")
def unkilled(dfad_words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unkilled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pytest"])
        patch.setattr(CurvesPlot, "on_fit_end", lambda *_: None)
        run_cli(*dfad_words)
        return folder / "logs/dfad/version_0/checkpoints/last.ckpt", run_card()


@pytest.mark.parametrize("where", few_fast({"while a checkpoint is written"}, PLACES))
def test_killed_distillation_goes_on(where, dfad_words, unkilled, kill):
    place, times = PLACES[where]
    kill(dfad_words, place, times)
    last = Path("logs/dfad/version_0/checkpoints/last.ckpt")
    if last.exists():
        torch.load(last, weights_only=True)  # whole, wherever the kill came
    else:
        assert where == "in the first epoch"
    run_cli(*dfad_words, "--ckpt_path=last")
    resumed = sorted(Path("logs/dfad").glob("version_*/run.json"))[-1].parent
    reference, card = unkilled
    assert_same_training_state(resumed / "checkpoints/last.ckpt", reference)
    ours = run_card(version=int(resumed.name[-1]))
    assert ours["metrics"] == card["metrics"]
    assert ours["min_class_entropy"] == card["min_class_entropy"]
    assert not list(resumed.rglob("*.partial"))
    assert "ckpt_path" not in ours["command"]
    states = [
        torch.load(path, weights_only=True)["callbacks"]["CurvesPlot"]
        for path in (resumed / "checkpoints/last.ckpt", reference)
    ]
    assert len(states[0]["history"]["train/loss_student"]) == 4
    for state in states:
        for part in ("synthesis", "student", "generator"):  # measured by a clock, so never twice the same
            assert len(state["history"].pop(f"train/time_share_{part}")) == 4
    assert states[0] == states[1]


@pytest.mark.slow
def test_another_teacher_is_refused(dfad_words, teacher_ckpt):
    words = [*dfad_words, "--trainer.max_epochs=1", "--test_after_fit=false"]
    run_cli(*words)
    checkpoint = torch.load(teacher_ckpt, weights_only=True)
    checkpoint["state_dict"]["network.fc.bias"] += 1
    torch.save(checkpoint, "other.ckpt")
    with pytest.raises(
        ValueError, match=r"made with other options \(model.teacher_ckpt .*best.ckpt there, other.ckpt here"
    ):
        run_cli(*words, "--ckpt_path=last", "--model.teacher_ckpt=other.ckpt")
    shutil.copy(teacher_ckpt, "same.ckpt")
    run_cli(*words, "--ckpt_path=last", "--model.teacher_ckpt=same.ckpt")


@pytest.mark.slow
def test_a_teacher_that_was_overwritten_is_refused(dfad_words, teacher_ckpt):
    shutil.copy(teacher_ckpt, "mine.ckpt")
    words = [*dfad_words, "--model.teacher_ckpt=mine.ckpt", "--test_after_fit=false"]
    run_cli(*words, "--trainer.max_epochs=1")
    checkpoint = torch.load("mine.ckpt", weights_only=True)
    checkpoint["state_dict"]["network.fc.bias"] += 1
    torch.save(checkpoint, "mine.ckpt")
    with pytest.raises(ValueError, match=r"the student learnt from .*mine.ckpt, and .*mine.ckpt is another teacher"):
        run_cli(*words, "--trainer.max_epochs=2", "--ckpt_path=last")


@pytest.mark.slow
def test_killed_classifier_goes_on(kill):
    """With everything random that a classifier can have: shuffling, augmentation, dropout, balanced sampling."""
    words = [
        "fit",
        "--model=ClassificationTask",
        "--model.network=MLP",
        "--model.network.dropout=0.3",
        "--data=DigitsDataModule",
        "--data.batch_size=100",
        "--data.balanced_sampling=true",
        '--data.augment=[{"class_path": "datamodules.BatchRandomCrop"}, {"class_path": "datamodules.BatchRandomFlip"}]',
        *TINY_TRAINER,
        "--trainer.max_epochs=3",
    ]
    run_cli(*words, "--experiment=whole")
    kill([*words, "--experiment=killed"], "lightning_tasks.ClassificationTask.training_step", 20)
    run_cli(*words, "--experiment=killed", "--ckpt_path=last")
    assert_same_training_state(*(f"logs/{name}/version_0/checkpoints/last.ckpt" for name in ("killed", "whole")))
    assert run_card("killed")["metrics"] == run_card("whole")["metrics"]


@pytest.mark.slow
def test_killed_network_by_hand_goes_on(kill):
    words = ["fit", *TINY_DATA, *TINY_BY_HAND, "--model.schedule=cosine", *TINY_TRAINER, "--trainer.max_epochs=3"]
    run_cli(*words, "--experiment=whole")
    kill([*words, "--experiment=killed"], "lightning_tasks.ByHandTask.training_step", 10)
    run_cli(*words, "--experiment=killed", "--ckpt_path=last")
    assert_same_training_state(*(f"logs/{name}/version_0/checkpoints/last.ckpt" for name in ("killed", "whole")))
    assert run_card("killed")["metrics"] == run_card("whole")["metrics"]


@pytest.mark.slow
def test_last_takes_up_the_run_of_the_same_seed():
    words = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER]
    for seed in (1, 2):
        run_cli(*words, "--trainer.max_epochs=1", f"--seed_everything={seed}")
    run_cli(*words, "--trainer.max_epochs=2", "--seed_everything=1", "--ckpt_path=last")
    assert run_card("teacher", 0)["epochs"] == 2
    assert run_card("teacher", 1)["epochs"] == 1


@pytest.mark.slow
def test_two_processes_never_train_one_run(tmp_path):
    words = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER]
    run_cli(*words, "--trainer.max_epochs=1")
    run = Path("logs/teacher/version_0")
    before = files(run)
    with lock_run(run):
        line = refusal(tmp_path, *words, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert line == f"error: {run}: another process trains this run"
    assert files(run) == before
    run_cli(*words, "--trainer.max_epochs=2", "--ckpt_path=last")  # the refused one holds it no more
    assert run_card("teacher")["epochs"] == 2


@pytest.mark.slow
def test_a_run_that_ends_before_its_first_step_leaves_nothing_but_others(tmp_path):
    words = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]
    run_cli(*words)
    before = files("logs")
    for experiment in ("teacher", "other/one"):
        refusal(tmp_path, *words, "--checkpoint_best.monitor=val/nosuch", f"--experiment={experiment}")
    assert files("logs") == before
    assert [path.name for path in Path("logs").iterdir()] == ["teacher"]
    assert [path.name for path in Path("logs/teacher").iterdir()] == ["version_0"]


def test_a_run_that_diverges_keeps_its_folder(tmp_path):
    words = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]
    refusal(tmp_path, *words, "--model.optimizer=SGD", "--model.optimizer.lr=1e30")
    assert Path("logs/teacher/version_0/config.yaml").is_file()


def test_classes_without_options_are_told_apart():
    one, other = ({"model": {"class_path": name, "init_args": {}}} for name in ("a.One", "a.Other"))
    assert differences(one, other) == {"model": ("a.One", "a.Other")}


def test_options_that_a_config_reads_from_another_file_are_the_same():
    """As `data: data/cifar100_datafree.yaml`; the run's own config has them in place."""
    words = [*TINY_TEACHER, *TINY_TRAINER]
    Path("small.yaml").write_text("class_path: DigitsDataModule\ninit_args: {train_per_class: 10}\n")
    Path("config.yaml").write_text("data: small.yaml\n")
    run_cli("fit", "--config=config.yaml", *words, "--trainer.max_epochs=1", "--test_after_fit=false")
    run_cli("fit", "--config=config.yaml", *words, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert run_card("teacher")["epochs"] == 2
    assert [each.name for each in Path("logs/teacher").iterdir()] == ["version_0"]
