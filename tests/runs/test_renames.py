"""Names of version 0.1 are read as today's, wherever they may stand."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, run_card, run_cli

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.runs import renames
from lightning_tasks.runs.identity import read_command

NEW_DFAD = {
    "class_path": "DFADTask",
    "init_args": {
        "teacher_ckpt": "a",
        "memory_bank": {"class_path": "MemoryBank", "init_args": {"size": 64, "flip": True, "mix_ratio": 0.5}},
        "augmentation": {"class_path": "Augmentation", "init_args": {"max_shift": 1}},
        "student_training": {"steps": 2, "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}},
        "generator_training": {"pretrain_epochs": 1},
        "objective": {"losses": [{"class_path": "OneHotLoss"}], "max_shift": 2},
    },
}
OLD_DFAD = {
    "class_path": "DFADTask",
    "init_args": {
        "teacher_ckpt": "a",
        "bank": {"class_path": "ImageBank", "init_args": {"size": 64, "mirrored": True, "mixed": 0.5}},
        "views": {"class_path": "Views", "init_args": {"shifted": 1}},
        "student_steps": 2,
        "optimizer_student": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}},
        "warm_up_epochs": 1,
        "generator_losses": [{"class_path": "OneHotLoss"}],
        "generator_shift": 2,
    },
}


def test_a_config():
    assert renames.renamed_config(OLD_DFAD) == NEW_DFAD
    assert renames.renamed_config(NEW_DFAD) == NEW_DFAD
    old = {"pictures": False, "model": OLD_DFAD, "trainer": {"callbacks": [{"class_path": "CurvesPicture"}]}}
    new = {"plots": False, "model": NEW_DFAD, "trainer": {"callbacks": [{"class_path": "CurvesPlot"}]}}
    assert renames.renamed_config(old) == new
    moved = {"class_path": "lightning_tasks.distillation_oriented.DistillationOrientedSGD"}
    assert renames.renamed_config(moved) == {"class_path": "lightning_tasks.distillation.dot.DistillationOrientedSGD"}
    kd = {"class_path": "lightning_tasks.KDTask", "init_args": {"views": 4, "soft_loss": None}}
    assert renames.renamed_config(kd)["init_args"] == {"cached_epochs": 4, "soft_loss": None}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--pictures=false", "--plots=false"),
        ("--model.student_steps=3", "--model.student_training.steps=3"),
        ("--model.optimizer_student.lr=0.5", "--model.student_training.optimizer.lr=0.5"),
        ("--model.init_args.optimizer_student.init_args.lr=1", "--model.student_training.optimizer.lr=1"),
        ("--model.bank.shifted=2", "--model.memory_bank.max_shift=2"),
        ("--model.bank=ImageBank", "--model.memory_bank=MemoryBank"),
        ("--model.views=Views", "--model.augmentation=Augmentation"),
        ("--model.views=4", "--model.cached_epochs=4"),
        ("--model.views=null", "--model.augmentation=null"),
        ("--trainer.callbacks+=GeneratedPicture", "--trainer.callbacks+=GeneratedPlot"),
        ("--model.soft_loss=null", "--model.soft_loss=null"),  # of KDTask; DFADTask says where its own is now
        ("--data.batch_size=3", "--data.batch_size=3"),
        ("--config=configs/views.yaml", "--config=configs/views.yaml"),
    ],
)
def test_a_word_of_a_command_line(old, new):
    assert renames.renamed_args([old]) == [new]
    assert renames.renamed_args(old.split("=")) == new.split("=")


@pytest.mark.parametrize(
    "arg",
    [
        "--experiment=Views",
        "--plot_id=CurvesPicture",
        "--trainer.callbacks=mine.CurvesPicture",
        "--trainer.callbacks=FirstPicture",
        "--data.root=ImageBank",
        "--experiment=None",
    ],
)
def test_words_of_the_users_stay(arg):
    assert renames.renamed_args([arg]) == [arg]
    assert renames.renamed_args(arg.split("=")) == arg.split("=")


@pytest.mark.parametrize(
    "config",
    [
        {"class_path": "mine.Net", "init_args": {"facts": 1, "bank": 2, "views": 3}},
        {"class_path": "mine.Views", "init_args": {"mixed": 0.5}},
        {"class_path": "mine.DFADTask", "init_args": {"student_steps": 2}},
        {"class_path": "mine.GalleryPicture"},
        {"model": {"class_path": "Net", "init_args": {"options": {"data": 1, "pictures": 2}}}},
    ],
)
def test_classes_and_options_of_the_users_stay(config):
    assert renames.renamed_config(config) == config


def test_a_value_that_is_a_mapping():
    bank = json.dumps(OLD_DFAD["init_args"]["bank"])
    (arg,) = renames.renamed_args([f"--model.bank={bank}"])
    option, _, value = arg.partition("=")
    assert option == "--model.memory_bank"
    assert json.loads(value) == NEW_DFAD["init_args"]["memory_bank"]


@pytest.mark.slow
def test_old_and_new_names_are_one_configuration(teacher_ckpt, tmp_path):
    """Also what a saved config of an old run says, whose hash is then that of a run of today."""
    words = [
        "fit",
        *TINY_DFAD,
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--data=DigitsDataModule",
        "--data.steps_per_epoch=2",
    ]
    found = []
    for name, part in (("old", OLD_DFAD), ("new", NEW_DFAD)):
        options = {key: value for key, value in part["init_args"].items() if key != "teacher_ckpt"}
        Path(f"{name}.yaml").write_text(yaml.safe_dump({"model": {"class_path": "DFADTask", "init_args": options}}))
        found.append(read_command(task_parser(), [words[0], f"--config={name}.yaml", *words[1:]]))
    assert found[0] == found[1]
    assert found[0]["model"]["init_args"]["student_training"]["init_args"]["steps"] == 2


def test_dfad_says_where_its_soft_loss_is_now(capsys):
    with pytest.raises(SystemExit):
        run_cli("fit", *TINY_DFAD, *TINY_DATA, "--model.teacher_ckpt=a", "--model.soft_loss=HintonLoss")
    assert "may be model.student_training.soft_loss now" in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_of_an_old_run_is_resumed_and_tested(teacher_ckpt, recwarn, monkeypatch):
    """Its entries, the options in it, the states of its callbacks, and its teacher's are named as before."""
    monkeypatch.setattr(renames, "said", set())  # each name is said once
    words = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}"]
    words += ["--model.memory_bank=MemoryBank", "--model.memory_bank.size=64", "--trainer.callbacks=CurvesPlot"]
    run_cli(*words, "--trainer.max_epochs=2", "--experiment=whole")
    run_cli(*words, "--trainer.max_epochs=1", "--experiment=old", "--test_after_fit=false")
    run = Path("logs/old/version_0")
    for path in run.rglob("*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        for old, new in (("bank", "memory_bank"), ("facts", "data_spec")):
            checkpoint[old] = checkpoint.pop(new)
        options = checkpoint["hyper_parameters"]
        options["bank"] = options.pop("memory_bank")
        options["bank"]["class_path"] = "lightning_tasks.ImageBank"
        checkpoint["callbacks"] = {
            key.replace("CurvesPlot", "CurvesPicture"): state for key, state in checkpoint["callbacks"].items()
        }
        torch.save(checkpoint, path)
    config = (run / "config.yaml").read_text()
    for new, old in (("memory_bank:", "bank:"), ("MemoryBank", "ImageBank"), ("CurvesPlot", "CurvesPicture")):
        assert new in config
        config = config.replace(new, old)
    (run / "config.yaml").write_text(config)
    run_cli(*words, "--trainer.max_epochs=2", "--experiment=old", "--ckpt_path=last")
    assert [run_card("old")["metrics"][name] for name in ("test/acc", "val/acc")] == [
        run_card("whole")["metrics"][name] for name in ("test/acc", "val/acc")
    ]
    assert any("bank is memory_bank now" in str(each.message) for each in recwarn)
