"""A run that is killed at any moment and gone on with ends as one that was not: weights, optimiser, schedules, card.

The runs are data, `systems.yaml`. Each is killed at random moments of its time, with half of a checkpoint written, and
between a file and its name.
"""

import json
import random
import re
import shlex
import shutil
import signal
import time
from pathlib import Path

import pytest
import tiny_imagenet_files
import torch
import yaml
from conftest import TINY_TRAINER, image_folder
from quickdraw_files import write as write_drawings

SYSTEMS = yaml.safe_load(Path(__file__).with_name("systems.yaml").read_text())
LIMITS = [*TINY_TRAINER, "--trainer.max_epochs=4", "--trainer.callbacks=CurvesPicture", "--experiment=x"]
KILLS = 9  # of each system: six at random moments, three at a place
FAST = {("by hand", 0), ("data-free with all parts", 1), ("sketches", 7)}  # others are slow
# Times, the commit, places of the folder, and a score that is not taken up again, since nothing reads it.
CHANGING = re.compile(r"seconds|date|peak_memory_mb|dirpath|current_score|commits?|teacher_ckpt|train/time_\w+")


def cases():
    for name in SYSTEMS:
        for number in range(KILLS):
            marks = () if (name, number) in FAST else pytest.mark.slow
            yield pytest.param(name, number, id=f"{name}-{number}", marks=marks)


@pytest.fixture(scope="session")
def laid_out(teacher_ckpt, tmp_path_factory):
    """A folder with all data that a run needs."""
    folder = tmp_path_factory.mktemp("kills") / "data"
    folder.mkdir()
    shutil.copy(teacher_ckpt, folder / "teacher.ckpt")
    image_folder(folder / "images", {"train": 60, "test": 10}, ("bee", "cat", "dog"))
    write_drawings(folder / "data", ("cat", "bus", "sea shell"))
    tiny_imagenet_files.write(folder / "data", count=14)
    return folder


@pytest.fixture(scope="session")
def unkilled(children, laid_out, tmp_path_factory):
    """Give the folder of a system's run from start to end, and its seconds; each is run once."""
    done = {}

    def run(name):
        if name not in done:
            folder = tmp_path_factory.mktemp("unkilled") / "run"
            shutil.copytree(laid_out, folder)
            start = time.monotonic()
            finished = children.run(words(name), folder)
            assert finished.status == 0, finished.err
            done[name] = folder, time.monotonic() - start
        return done[name]

    return run


def words(name):
    return ["fit", *shlex.split(SYSTEMS[name]), *LIMITS]


def moment(name, number, seconds):
    """When the n-th kill of a system comes: after so long, or at the n-th call of a place."""
    chance = random.Random(f"{name} {number}")
    if number < KILLS - 3:
        return {"timeout": seconds * chance.random()}
    return {"dies_at": (("torch.save", "os.replace", "os.replace")[number - KILLS], chance.randint(1, 5))}


def finished_run(folder):
    (card,) = (folder / "logs/x").glob("version_*/run.json")
    return card.parent


def differences(ours, theirs, where=""):
    """Name what differs in two trees of data, where it may not."""
    if isinstance(theirs, dict):
        ours, theirs = ({_name(key): value for key, value in each.items()} for each in (ours, theirs))
        if ours.keys() != theirs.keys():
            return [f"{where}: {ours.keys() ^ theirs.keys()}"]
        return [
            each
            for key, value in theirs.items()
            if not CHANGING.fullmatch(str(key))
            for each in differences(ours[key], value, f"{where}.{key}")
        ]
    if isinstance(theirs, (list, tuple)):
        if len(ours) != len(theirs):
            return [where]
        return [
            each
            for index, pair in enumerate(zip(ours, theirs, strict=True))
            for each in differences(*pair, f"{where}.{index}")
        ]
    if isinstance(theirs, torch.Tensor):
        return [] if ours is not None and torch.equal(ours, theirs) else [where]
    return [] if _name(ours) == _name(theirs) or (ours != ours and theirs != theirs) else [where]  # NaN is not itself


def _name(value):
    """Of a file of the run, whose folders differ."""
    return Path(value).name if isinstance(value, str) and "/version_" in value else value


def assert_same_run(ours, theirs):
    for name in ("last", "best"):
        pair = [torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True) for run in (ours, theirs)]
        assert differences(*pair) == []
    pair = [json.loads((run / "run.json").read_text()) for run in (ours, theirs)]
    assert differences(*pair) == []


@pytest.mark.parametrize(("name", "number"), list(cases()))
def test_a_killed_run_goes_on(name, number, children, laid_out, unkilled, tmp_path):
    whole, seconds = unkilled(name)
    for attempt in range(1, 10):
        folder = tmp_path / f"run_{attempt}"
        shutil.copytree(laid_out, folder)
        done = children.run(words(name), folder, **moment(name, number, seconds / attempt))
        if done.status:  # else it was faster than the one that was not killed
            break
    assert done.status == -signal.SIGKILL, done
    again = children.run([*words(name), "--ckpt_path=last"], folder)
    assert again.status == 0, again.err
    assert_same_run(finished_run(folder), finished_run(whole))
    assert not list(finished_run(folder).rglob("*.partial"))
