"""One short run of each kind, from start to end, and what must be the same in one that was disturbed."""

import json
import re
import shlex
import shutil
import time
from pathlib import Path

import torch
import yaml

from helpers import tiny_imagenet_files
from helpers.commands import ROOT, TINY_TRAINER, image_folder
from helpers.quickdraw_files import write as write_drawings

SYSTEMS = yaml.safe_load(ROOT.joinpath("tests/campaign/systems.yaml").read_text())
LIMITS = [*TINY_TRAINER, "--plots=true", "--trainer.max_epochs=4", "--trainer.callbacks=CurvesPlot", "--experiment=x"]
# Times, the commit, places of the folder; a score that is not taken up again, and Lightning's count of a schedule,
# which grows after the checkpoint where the schedule watches a metric: nothing reads them.
CHANGING = re.compile(
    r"seconds|date|peak_memory_mb|dirpath|current_score|commits?|teacher_ckpt|train/time_\w+|epoch_loop\.scheduler_progress"
)


class Systems:
    """Runs each kind from start to end, once."""

    def __init__(self, children, teacher_ckpt, folder):
        self._children = children
        self._folder = folder
        self._data = folder / "data"
        self._data.mkdir()
        self._done = {}
        shutil.copy(teacher_ckpt, self._data / "teacher.ckpt")
        image_folder(self._data / "images", {"train": 60, "test": 10}, ("bee", "cat", "dog"))
        write_drawings(self._data / "data", ("cat", "bus", "sea shell"))
        tiny_imagenet_files.write(self._data / "data", count=14)

    def lay_out(self, folder):
        """Make a folder with all data that a run needs."""
        shutil.copytree(self._data, folder)
        return folder

    def uninterrupted(self, name):
        """Give the folder of the run of a kind, and its seconds."""
        if name not in self._done:
            folder = self.lay_out(self._folder / str(len(self._done)))
            start = time.monotonic()
            finished = self._children.run(words(name), folder)
            assert finished.status == 0, finished.err
            self._done[name] = finished_run(folder), time.monotonic() - start
        return self._done[name]


def words(name):
    return ["fit", *shlex.split(SYSTEMS[name]), *LIMITS]


def without_averages(words):
    """Leave averaged weights out of a command line, which bfloat16 alone does not keep."""
    return [word for word in words if not re.match(r"--model\.(generator_)?ema_decay=", word)]


def write_sweep(folder):
    """A sweep of two short runs."""
    (folder / "tiny.yaml").write_text("experiment: x\n")
    given = dict(word.removeprefix("--").split("=", 1) for word in shlex.split(SYSTEMS["by hand"]))
    options = {name: yaml.safe_load(value) for name, value in given.items()} | {"trainer.max_epochs": 2}
    axes = {"rate": {"slow": {"model.rule.learning_rate": 0.01}, "fast": {"model.rule.learning_rate": 0.1}}}
    sweep = {"config": "tiny.yaml", "seeds": [1], "options": options, "axes": axes}
    (folder / "table.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))


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
        pair = [torch.load(run / f"checkpoints/{name}.ckpt", "cpu", weights_only=True) for run in (ours, theirs)]
        found = differences(*pair)
        assert found == [], found[:5]
    pair = [json.loads((run / "run.json").read_text()) for run in (ours, theirs)]
    assert differences(*pair) == []
