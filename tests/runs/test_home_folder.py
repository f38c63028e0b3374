"""`~` in a path is the home folder, wherever a user may write one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, image_folder, refusal, run_cli
from helpers.quickdraw_files import write as write_drawings
from helpers.tiny_imagenet_files import write as write_tiny_imagenet

from datamodules import ImageArraysDataModule, ImageFolderDataModule, QuickDrawDataModule, TinyImageNetDataModule
from datamodules.image_files import find_images
from lightning_tasks.export.predict import load
from lightning_tasks.networks.file import NetworkFile
from lightning_tasks.runs.checkpoints import find_checkpoint, read_task_checkpoint
from lightning_tasks.runs.errors import config_files
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.ranks import content_hash
from lightning_tasks.sweeps.plan import read as read_sweep


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder, and another one in which nothing called ~ may be made."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not list((tmp_path / "here").glob("~*"))


def test_other_paths_stay_what_they_are(home):
    for path in ("a/b", "/a/~/b", "a~", "~nobody-of-this-name/a", "."):
        assert str(user_path(path)) == path
    assert user_path("~") == home
    assert user_path(Path("~/a")) == home / "a"


def test_images(home):
    image_folder(home / "photos", {"train": 3, "test": 1}, ["a", "b"])
    assert ImageFolderDataModule("~/photos").folder == home / "photos"
    expected = sorted((home / "photos" / "test").glob("*/*.png"))
    for place in ("~/photos/test", "~/photos/test/*/*.png"):
        assert find_images([place]) == expected
    assert find_images(["~/photos/test/a/0.png"]) == expected[:1]
    images = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    arrays = {"x_train": images, "y_train": np.arange(6) % 2, "x_test": images + 1, "y_test": np.arange(6) % 2}
    np.savez(home / "a.npz", **arrays)
    assert ImageArraysDataModule("~/a.npz", val_fraction=0.34).path == home / "a.npz"


def test_root_of_the_data_sets(home):
    write_tiny_imagenet(home / "data")
    write_drawings(home / "data", ["cat", "dog"])
    assert TinyImageNetDataModule(root="~/data", val_fraction=0.25).folder == home / "data" / "tiny-imagenet-200"
    data = QuickDrawDataModule(["cat", "dog"], root="~/data")
    data.prepare_data()
    assert data.splits.folder == home / "data" / "quickdraw"


@pytest.mark.slow
def test_a_run_its_checkpoint_and_its_config(home):
    """Trained by a config, resumed, tested, distilled and exported."""
    (home / "tiny.yaml").write_text("trainer: {max_epochs: 1, default_root_dir: ~/logs}\n")
    words = ["--config=~/tiny.yaml", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER]
    run_cli("fit", *words)
    run = home / "logs" / "teacher" / "version_0"
    assert (run / "run.json").is_file()
    run_cli("fit", *words, "--ckpt_path=last", "--trainer.max_epochs=2")
    assert json.loads((run / "run.json").read_text())["epochs"]
    run_cli("test", *words, "--ckpt_path=~/logs/teacher/version_0/checkpoints/best.ckpt")
    assert not Path("logs").exists()
    assert find_checkpoint("~/logs/teacher", "x") == run / "checkpoints" / "best.ckpt"
    found = [content_hash("model.teacher_ckpt", f"{folder}/logs/teacher") for folder in ("~", home)]
    assert found[0] == found[1] is not None
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", "--trainer.default_root_dir=~/logs"]
    run_cli("fit", *words, "--model.teacher_ckpt=~/logs/teacher")
    assert (home / "logs/dfad/version_0/run.json").is_file()
    line = refusal(Path.cwd(), "test", *TINY_TEACHER, *TINY_DATA, "--ckpt_path=~/nothing.ckpt")
    assert f"ckpt_path: no checkpoint at {home}/nothing.ckpt" in line


def test_weights_of_a_network(home):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    batch = {0: torch.export.Dim("batch")}
    torch.export.save(
        torch.export.export(network, (torch.zeros(2, 1, 2, 2),), dynamic_shapes=(batch,)), home / "net.pt2"
    )
    assert NetworkFile(3, (1, 2, 2), "~/net.pt2").path == str(home / "net.pt2")


def test_files_that_a_checkpoint_names_are_not_read(home):
    """The parser reads `~/x.yaml` too."""
    (home / "x.yaml").write_text("a: 1")
    path = home / "a.ckpt"
    content = {"state_dict": {"a": torch.zeros(1)}, "pytorch-lightning_version": "2"}
    torch.save(content | {"hyper_parameters": {"a": "~/x.yaml"}}, path)
    with pytest.raises(ValueError, match=r"names the file ~/x\.yaml \(a\), which is not read from a checkpoint"):
        read_task_checkpoint(path)


def test_other_commands(home, monkeypatch):
    (home / "x.yaml").write_text("")
    monkeypatch.setattr(sys, "argv", ["cli.py", "--config=~/x.yaml"])
    assert config_files() == [home / "x.yaml"]
    sweep = home / "sweep.yaml"
    sweep.write_text("config: ~/x.yaml\naxes: {a: {b: {seed_everything: 1}}}\n")
    assert read_sweep(sweep).config == "~/x.yaml"
    with pytest.raises(FileNotFoundError, match=f"no exported network in {home}/out"):
        load("~/out")


@pytest.mark.parametrize(
    ("module", "words", "given"),
    [
        ("lightning_tasks.sweeps.command", ["~/s.yaml", "--logs=~/l"], {"file": "s.yaml", "logs": "l"}),
        ("lightning_tasks.export.command", ["--ckpt=~/c", "--out=~/o"], {"out": "o"}),
        ("lightning_tasks.compare.command", ["~/a", "~/b"], {"runs": ["a", "b"]}),
        ("tools.results.__main__", ["--logs=~/l"], {"logs": "l"}),
        ("tools.benchmarks.__main__", ["--root=~/data"], {"root": "data"}),
    ],
)
def test_options_of_other_commands(home, monkeypatch, module, words, given):
    """They are looked at where the words have just been read."""
    import argparse
    import importlib

    class Read(Exception):  # no error
        pass

    def parse(parser, args=None, read=argparse.ArgumentParser.parse_known_args):
        options = read(parser, words)[0]
        found = {name: getattr(options, name) for name in given}
        raise Read({name: [*map(str, each)] if isinstance(each, list) else str(each) for name, each in found.items()})

    main = importlib.import_module(module).main
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    with pytest.raises(Read) as read:
        main(*([[]] if module.endswith("command") else []))
    full = {
        name: [f"{home}/{e}" for e in each] if isinstance(each, list) else f"{home}/{each}"
        for name, each in given.items()
    }
    assert read.value.args[0] == full
