"""What a checkpoint names is neither imported nor read, and its data must be those of the run."""

import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import (
    TINY_DATA,
    TINY_TEACHER,
    TINY_TRAINER,
    make_trainer,
    refusal,
    refused,
)

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask


def write_module(folder):
    """A module that says so when it is imported."""
    (folder / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\nclass Network: ...\n")


def test_a_checkpoint_imports_nothing_that_it_names(tmp_path, teacher_ckpt, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path)
    checkpoint = torch.load(teacher_ckpt, weights_only=True)
    checkpoint["hyper_parameters"]["network"] = {"class_path": "evil.Network"}
    torch.save(checkpoint, "evil.ckpt")
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--ckpt_path=evil.ckpt"]
    for subcommand in ("fit", "test", "predict"):
        line = refused(tmp_path, subcommand, *words)
        assert "evil.ckpt names evil.Network (network.class_path), which is no part of this project" in line
    assert not Path("ran").exists()
    assert "evil" not in sys.modules


def test_a_checkpoint_reads_no_file_that_it_names(tmp_path, teacher_ckpt, monkeypatch):
    """The parser would take the file for options, and import the classes in it."""
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path)
    (tmp_path / "more.yaml").write_text("class_path: evil.Network\n")
    checkpoint = torch.load(teacher_ckpt, weights_only=True)
    for name in (f"{tmp_path}/more.yaml", "./more.yaml", "more.yaml"):
        checkpoint["hyper_parameters"]["network"] = name
        torch.save(checkpoint, "evil.ckpt")
        line = refused(tmp_path, "test", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--ckpt_path=evil.ckpt")
        assert f"evil.ckpt names the file {name} (network)" in line
        assert not Path("ran").exists()


@pytest.mark.slow
def test_data_of_another_kind_than_the_checkpoint_are_refused(tmp_path, teacher_ckpt):
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, f"--ckpt_path={teacher_ckpt}", "--data.normalise=false"]
    for subcommand in ("test", "predict", "validate"):
        line = refusal(tmp_path, subcommand, *words)
        assert (
            "ckpt_path: the checkpoint was trained with mean [0.3053], std [0.3186]; this run has [0.0], [1.0]" in line
        )


def test_a_task_built_for_other_data_is_refused():
    data = DigitsDataModule(image_size=8)
    task = ClassificationTask(data.data_spec | {"mean": (0.5,)}, network=MLP)
    with pytest.raises(ValueError, match=r"the data are with mean \[0.3053\]; this run has \[0.5\]"):
        make_trainer().fit(task, data)
