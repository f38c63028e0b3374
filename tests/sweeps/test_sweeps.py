"""Sweeps: what they consist of, that nothing is run twice, and the table."""

import csv
import json
import math
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from filelock import FileLock
from helpers.commands import ROOT, SWEEP
from matplotlib.image import imread

from lightning_tasks.cli.main import main
from lightning_tasks.cli.parser import task_parser
from lightning_tasks.runs.identity import config_hash, read_command
from lightning_tasks.sweeps import command, runner
from lightning_tasks.sweeps.plan import read

SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


@pytest.fixture
def calls(monkeypatch):
    """Runs the commands in this process, which has imported everything already; collects their words."""
    seen = []

    class Process:
        def __init__(self, words, **_):
            self.words = words[5:]  # behind the interpreter, its options, the module and the lock

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait(self):
            seen.append(self.words)
            main(self.words)
            return 0

    monkeypatch.setattr(runner, "subprocess", SimpleNamespace(Popen=Process, PIPE=None, STDOUT=None))
    return seen


def run(monkeypatch, *words):
    return command.main([*map(str, words)])


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=attrgetter("stem"))
def test_every_choice_of_a_sweep_is_a_valid_command(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = read(path)
    for axis, choices in sweep.axes.items():
        cells = replace(sweep, axes={axis: choices}, columns=[], reported=[]).cells()
        hashes = {config_hash(read_command(task_parser(), sweep.command(cell))) for cell in cells}
        assert len(hashes) == len(choices)
    folders = {cell.folder for cell in sweep.cells()}
    assert len(folders) == math.prod(map(len, sweep.axes.values()))


def test_a_sweep_without_seeds_has_that_of_the_command_line(sweep_file):
    sweep_file.write_text(yaml.safe_dump({name: SWEEP[name] for name in ("config", "axes")}))
    assert read(sweep_file).seeds == [42]


def test_runs_what_is_missing_and_nothing_twice(sweep_file, calls, monkeypatch, capsys):
    data = yaml.safe_load(sweep_file.read_text())
    data["axes"]["L2"].pop("on")
    sweep_file.write_text(yaml.safe_dump(data, sort_keys=False))
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert len(calls) == 2
    Path("logs/table/fast,off/version_0/checkpoints/last.ckpt").unlink()  # the card says enough
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert len(calls) == 2
    # A card that is damaged: the run is finished, so it resumes from its last checkpoint to its end at once.
    card = Path("logs/table/slow,off/version_0/run.json")
    before = json.loads(card.read_text())
    said = f"[1/2] slow, off, seed 1: test/acc {before['metrics']['test/acc']:.4f}, done before"
    assert said in capsys.readouterr().out
    card.write_text(card.read_text()[:50])
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert f"skipped: {card.resolve()} is no run card" in capsys.readouterr().err
    assert len(calls) == 3
    assert calls[-1][-1] == "--ckpt_path=last"
    assert json.loads(card.read_text())["metrics"] == before["metrics"]
    # Another configuration: its cards do not count, and its checkpoints are not gone on from.
    text = Path("tiny.yaml").read_text()
    Path("tiny.yaml").write_text(text.replace("max_epochs: 1", "max_epochs: 2"))
    card.unlink()
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert len(calls) == 5
    assert all("--ckpt_path=last" not in words for words in calls[3:])
    # And back again: one is done, and the other goes on from its own run, not from the newer one of another.
    Path("tiny.yaml").write_text(text)
    capsys.readouterr()
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert capsys.readouterr().out.count("done before") == 1
    assert len(calls) == 6
    assert calls[-1][-1] == "--ckpt_path=last"
    assert json.loads(card.read_text())["metrics"] == before["metrics"]
    table = list(csv.DictReader(Path("logs/table/table.csv").read_text().splitlines()))
    assert [(row["rule"], row["L2"], row["seeds"]) for row in table] == [
        (rule, "off", "1") for rule in ("slow", "fast")
    ]
    assert "| slow |" in Path("logs/table/table.md").read_text()
    assert imread("logs/table/table.png").std() > 0.01


@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_others(sweep_file, monkeypatch, capsys):
    """In processes of their own, as a user has them, two at a time."""
    data = yaml.safe_load(sweep_file.read_text())
    data["axes"]["rule"] = {"slow": data["axes"]["rule"]["slow"], "broken": {"model.rule.learning_rate": -1}}
    data["reported"] = []
    data["axes"]["L2"].pop("on")
    sweep_file.write_text(yaml.safe_dump(data, sort_keys=False))
    assert run(monkeypatch, sweep_file, "--seeds", 3, "--jobs", 2) == 1
    said = capsys.readouterr()
    assert said.out.count("failed: error: learning_rate must be above 0, got -1.0") == 1
    assert said.err == "error: 1 runs failed\n"
    assert "| broken | - |" in Path("logs/table/table.md").read_text()


@pytest.mark.slow
def test_a_run_without_a_card_is_no_success(sweep_file, calls, monkeypatch, capsys):
    assert run(monkeypatch, sweep_file, "--seeds", 1, "--", "--test_after_fit=false") == 1
    assert capsys.readouterr().out.count("failed: the run left no card") == 4
    assert len(calls) == 4


def test_one_process_at_a_time(sweep_file, calls, monkeypatch):
    Path("logs/table").mkdir(parents=True)
    with FileLock("logs/table/.lock"), pytest.raises(SystemExit, match="another process is running this sweep"):
        run(monkeypatch, sweep_file)
    assert not calls


@pytest.mark.slow
def test_a_run_whose_starter_has_died_is_waited_for(sweep_file, calls, monkeypatch):
    axes = {"rule": {"slow": {"model.rule.learning_rate": 0.01}}}
    sweep_file.write_text(yaml.safe_dump({"config": "tiny.yaml", "axes": axes, "columns": []}))
    run_of_before = FileLock("logs/table/slow/seed_1.run.lock", thread_local=False)
    Path(run_of_before.lock_file).parent.mkdir(parents=True)
    run_of_before.acquire()
    before = []
    threading.Timer(3, lambda: (before.append(len(calls)), run_of_before.release())).start()
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert (before, len(calls)) == ([0], 1)


@pytest.mark.slow
def test_stopped_by_a_signal_it_ends_its_runs_and_goes_on_later(sweep_file, children, tmp_path):
    """In processes of their own."""
    text = Path("tiny.yaml").read_text()
    Path("tiny.yaml").write_text(text.replace("max_epochs: 1", "max_epochs: 100000"))
    sweep = children.start([sweep_file, "--seeds", "1"], tmp_path, "sweep")
    last = Path("logs/table/slow,off/version_0/checkpoints/last.ckpt")
    for _ in range(600):
        if last.exists():
            break
        time.sleep(0.1)
    assert last.exists()
    os.kill(sweep, signal.SIGTERM)
    done = children.finish(sweep)
    assert done.status == 130
    assert "stopped; the same command resumes from here" in done.err
    before = last.stat().st_mtime
    time.sleep(1)
    assert last.stat().st_mtime == before  # the run has ended too


def test_options_of_a_sweep_are_those_of_all_cells(sweep_file):
    sweep_file.write_text(yaml.safe_dump(SWEEP | {"options": {"trainer.max_epochs": 3}}, sort_keys=False))
    for cell in read(sweep_file).cells():
        assert "--trainer.max_epochs=3" in cell.words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": None}, ".*required: axes"),
        ({"axes": {"a": {"b": 3}}}, "axes: .*dict.* 3"),
        ({"axes": {"a": {}}}, "axes must map the name of each axis"),
        ({"axes": {"a": {False: {}}}}, r"axes.a: put the name False in quotes"),
        (
            {"axes": {"a": {"x y": {}, "x  y": {}}}, "reported": []},
            "two choices have names that are the same as a folder",
        ),
        ({"columns": ["rules"]}, "columns: no axis rules; there are rule, L2"),
        ({"reported": [{"seed": 1, "values": {}}]}, "reported: .* must give a choice on rule and values"),
        ({"reported": [{"rule": "slow", "value": 2}]}, "reported: .* must give a choice on rule and values"),
        ({"reported": [{"rule": "quick", "values": {}}]}, "reported: .* must give a choice on rule and values"),
        ({"reported": [{"rule": "slow", "values": 2}]}, "reported: values must map metrics to numbers, got 2"),
        ({"reported": [{"rule": "slow", "values": {"test/acc": 1, "x": "y"}}]}, "reported: values must map metrics to"),
        ({"reported": [{"rule": "slow", "values": {"x": 1}}]}, "reported: no metric x; there are test/acc$"),
        ({"metrics": "test/acc"}, "metrics: .*list.* test/acc"),
        ({"metrics": []}, "metrics must name at least one"),
        ({"metrics": ["test/acc", "test/loss"]}, r"metrics: .*columns: \[\], got L2"),
        ({"metric": "test/acc"}, "a sweep needs config and axes"),
        ({"options": [1]}, r"options: .*dict.*\[1\]"),
        ({"seeds": 3}, "seeds: .*list.* 3"),
        ({"seeds": [2**32]}, "seeds must be in .*4,294,967,295.*, got 4294967296"),
        ({"seeds": [1.5]}, "seeds: .*int.* 1.5"),
        ({"over_time": "val/acc"}, "over_time: .*dict.* val/acc"),
        ({"over_time": {"val/acc": "high"}}, "over_time: .*float.* high"),
        ({"over_time": {"val/acc": 0.5}}, r"over_time: .*columns: \[\], got L2"),
        ({"trade_off": ["test/acc"]}, "trade_off must name two of the metrics test/acc, got .'test/acc'."),
        ({"trade_off": ["test/acc", "val/acc"]}, "trade_off must name two of the metrics test/acc"),
        ({"config": "none.yaml"}, "config: no file none.yaml"),
        ({"grid": {}}, "a sweep needs config and axes, and may have columns, options, seeds, metrics, reported, over"),
    ],
)
def test_a_file_that_is_no_sweep(sweep_file, change, message):
    sweep_file.write_text(yaml.safe_dump(SWEEP | change, sort_keys=False))
    with pytest.raises(ValueError, match=f"table.yaml: {message}"):
        read(sweep_file)


def test_names_and_values_are_those_of_the_file(sweep_file):
    """Also a choice that YAML 1.1 takes for a number of base 60, and a class whose other options stay unsaid."""
    axes = {"split": {"70:30": {"data.split": "70:30"}, "80:20": {"model.rule": {"class_path": "Momentum"}, "x": None}}}
    sweep = {"config": "tiny.yaml", "axes": axes, "columns": [], "reported": [{"split": "70:30", "values": {}}]}
    sweep_file.write_text(yaml.safe_dump(sweep, sort_keys=False))
    assert read(sweep_file).axes == axes
    assert [cell.words for cell in read(sweep_file).cells()] == [
        ("--data.split=70:30",),
        ('--model.rule={"class_path": "Momentum"}', "--x=null"),
    ]


def test_a_cell_that_is_no_command_is_refused_before_any_run(sweep_file, calls, monkeypatch):
    axes = {"rate": {"good": {}, "bad": {"model.rule.learning_rat": 0.1}}}
    sweep_file.write_text(yaml.safe_dump({"config": "tiny.yaml", "axes": axes}))
    with pytest.raises(SystemExit, match=r"error: .*learning_rat"):
        run(monkeypatch, sweep_file)
    assert not calls


def test_missing_file_is_one_line(monkeypatch):
    with pytest.raises(SystemExit, match=r"error: .*none.yaml"):
        run(monkeypatch, "none.yaml")


def test_a_cluster_needs_an_extra(sweep_file, calls, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit, match=r"error: --scheduler needs Dask: pip install 'lightning-tasks\[cluster\]'"):
        run(monkeypatch, sweep_file, "--scheduler", "tcp://127.0.0.1:8786")
    assert not calls
