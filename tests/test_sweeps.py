"""Sweeps: what they consist of, that nothing is run twice, and the table."""

import csv
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT, TINY_BY_HAND, TINY_DATA, TINY_TRAINER
from filelock import FileLock
from matplotlib.image import imread

from cli import main
from parsing import task_parser
from runs.identity import config_hash, read_command
from sweeps import __main__ as command
from sweeps import report
from sweeps.pictures import draw_over_time
from sweeps.plan import read

SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
FILE = {
    "config": "tiny.yaml",
    "seeds": [1, 2],
    "axes": {
        "rule": {
            "slow": {"model.rule.learning_rate": 0.01},
            "fast": {"model.rule.learning_rate": 0.1},
        },
        "L2": {"off": {"model.l2": 0.0}, "on": {"model.l2": 0.001}},
    },
    "reported": [{"rule": "slow", "values": {"test/acc": 0.5}}],
}


@pytest.fixture
def sweep_file(monkeypatch, capsys):
    """A sweep of eight short runs, in the current folder."""
    words = [*TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=1"]
    with pytest.raises(SystemExit):
        main(["fit", *words, "--print_config"])
    Path("tiny.yaml").write_text(capsys.readouterr().out)
    Path("table.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    return Path("table.yaml")


@pytest.fixture
def calls(monkeypatch):
    """Runs the commands in this process, which has imported everything already; collects their words."""
    seen = []

    class Process:
        def __init__(self, words, **_):
            self.words = words[2:]

        def wait(self):
            seen.append(self.words)
            main(self.words)
            return 0

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(Popen=Process, STDOUT=None))
    return seen


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["sweeps", *map(str, words)])
    return command.main()


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_choice_of_a_sweep_is_a_valid_command(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = read(path)
    for axis, choices in sweep.axes.items():
        cells = replace(sweep, axes={axis: choices}).cells()
        hashes = {config_hash(read_command(task_parser(), sweep.command(cell))) for cell in cells}
        assert len(hashes) == len(choices)
    folders = {cell.folder for cell in sweep.cells()}
    assert len(folders) == math.prod(map(len, sweep.axes.values()))


def test_a_sweep_without_seeds_has_that_of_the_command_line(sweep_file):
    sweep_file.write_text(yaml.safe_dump({name: FILE[name] for name in ("config", "axes")}))
    assert read(sweep_file).seeds == [42]


@pytest.mark.parametrize("reported", [[], FILE["reported"]], ids=len)
def test_picture_names_what_others_report_if_they_do(sweep_file, reported):
    sweep_file.write_text(yaml.safe_dump(FILE | {"reported": reported}, sort_keys=False))
    sweep = read(sweep_file)
    cards = [card(sweep.experiment(cell), 1, 0.1 + 0.1 * index) for index, cell in enumerate(sweep.cells()[:3])]
    axes = report.draw(sweep, report.rows(sweep, cards, {cell.folder: "h" for cell in sweep.cells()})).axes[0]
    values = {each.get_label(): each.lines[0].get_xdata().tolist() for each in axes.containers}
    assert values == {"L2 off": pytest.approx([10, 30]), "L2 on": pytest.approx([20])}
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == [*(["reported"] if reported else []), "L2 off", "L2 on"]


def test_runs_what_is_missing_and_nothing_twice(sweep_file, calls, monkeypatch, capsys):
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert len(calls) == 4
    Path("logs/table/fast,off/version_0/checkpoints/last.ckpt").unlink()  # the card says enough
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert len(calls) == 4
    # A card that is lost: the run is finished, so it goes on from its last checkpoint to its end at once.
    card = Path("logs/table/slow,on/version_0/run.json")
    before = json.loads(card.read_text())
    said = f"[2/4] slow, on, seed 1: test/acc {before['metrics']['test/acc']:.4f}, done before"
    assert said in capsys.readouterr().out
    card.unlink()
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert len(calls) == 5
    assert calls[-1][-1] == "--ckpt_path=last"
    assert json.loads(card.read_text())["metrics"] == before["metrics"]
    # Another configuration: its cards do not count, and its checkpoints are not gone on from.
    text = Path("tiny.yaml").read_text()
    Path("tiny.yaml").write_text(text.replace("max_epochs: 1", "max_epochs: 2"))
    card.unlink()
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert len(calls) == 9
    assert all("--ckpt_path=last" not in words for words in calls[5:])
    # And back again: three are done, and the fourth goes on from its own run, not from the newer one of another.
    Path("tiny.yaml").write_text(text)
    capsys.readouterr()
    assert run(monkeypatch, sweep_file, "--seeds", 1) == 0
    assert capsys.readouterr().out.count("done before") == 3
    assert len(calls) == 10
    assert calls[-1][-1] == "--ckpt_path=last"
    assert json.loads(card.read_text())["metrics"] == before["metrics"]
    table = list(csv.DictReader(Path("logs/table/table.csv").read_text().splitlines()))
    assert [(row["rule"], row["L2"], row["seeds"]) for row in table] == [
        (rule, l2, "1") for rule in ("slow", "fast") for l2 in ("off", "on")
    ]
    assert "| slow |" in Path("logs/table/table.md").read_text()
    assert imread("logs/table/table.png").std() > 0.01


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


def test_a_run_without_a_card_is_no_success(sweep_file, calls, monkeypatch, capsys):
    assert run(monkeypatch, sweep_file, "--seeds", 1, "--", "--test_after_fit=false") == 1
    assert capsys.readouterr().out.count("failed: the run left no card") == 4
    assert len(calls) == 4


def test_one_process_at_a_time(sweep_file, calls, monkeypatch):
    Path("logs/table").mkdir(parents=True)
    with FileLock("logs/table/.lock"), pytest.raises(SystemExit, match="another process is running this sweep"):
        run(monkeypatch, sweep_file)
    assert not calls


def test_stopped_by_a_signal_it_ends_its_runs_and_goes_on_later(sweep_file):
    """In processes of their own."""
    text = Path("tiny.yaml").read_text()
    Path("tiny.yaml").write_text(text.replace("max_epochs: 1", "max_epochs: 100000"))
    words = [sys.executable, "-m", "sweeps", str(sweep_file), "--seeds", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    sweep = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    last = Path("logs/table/slow,off/version_0/checkpoints/last.ckpt")
    for _ in range(600):
        if last.exists():
            break
        time.sleep(0.1)
    assert last.exists()
    sweep.terminate()
    _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "stopped; the same command goes on from here" in said
    before = last.stat().st_mtime
    time.sleep(1)
    assert last.stat().st_mtime == before  # the run has ended too


def card(experiment, seed, value, date="2026-01-01"):
    return {
        "experiment": experiment,
        "seed": seed,
        "metrics": {"test/acc": value},
        "seconds": 10.0,
        "date": date,
        "config_hash": "h",
    }


def test_table_by_hand_computed_values(sweep_file):
    sweep = read(sweep_file)
    cards = [
        card("table/slow,off", 1, 0.90),
        card("table/slow,off", 2, 0.10, date="2025-01-01"),
        card("table/slow,off", 2, 0.94),
        card("table/slow,off", 3, 0.0),  # a seed that is not the sweep's
        card("table/fast,on", 1, 0.5),
        card("other/slow,off", 1, 0.0),
    ]
    cards.append(card("table/slow,off", 1, 0.0, date="2027-01-01") | {"config_hash": "another"})
    hashes = {cell.folder: "h" for cell in sweep.cells()}
    text = report.markdown(sweep, report.rows(sweep, cards, hashes))
    assert text.splitlines()[:4] == [
        "| rule | off | on | test/acc, reported |",
        "|---|---|---|---|",
        "| slow | 92.0 ± 2.8 | - | 50.0 |",
        "| fast | - | 50.0 | - |",
    ]
    assert text.endswith("test/acc in percent by L2; 0 to 2 seeds a cell.")
    losses = replace(sweep, metrics=["val/loss"], reported=[])
    cards = [each | {"metrics": {"val/loss": 0.25}} for each in cards[:1]]
    assert "| slow | 0.2500 | - |\n" in report.markdown(losses, report.rows(losses, cards, hashes))


def test_a_table_without_columns_shows_what_it_cost(sweep_file):
    """Cells of 2, 1 and 0 runs; the two take 10 and 20 s."""
    sweep_file.write_text(yaml.safe_dump(FILE | {"columns": [], "reported": []}, sort_keys=False))
    sweep = read(sweep_file)
    hashes = {cell.folder: "x" for cell in sweep.cells()}
    base = {"config_hash": "x", "date": "2026-01-01"}
    made = [(0, 1, 0.25, 10), (0, 2, 0.75, 20), (2, 1, 0.125, 7)]
    cards = [
        base
        | {"experiment": sweep.experiment(sweep.cells()[cell]), "seed": seed, "seconds": seconds}
        | {"metrics": {"test/acc": value}}
        for cell, seed, value, seconds in made
    ]
    table = report.rows(sweep, cards, hashes)
    lines = report.markdown(sweep, table).splitlines()
    assert lines[0] == "| rule | L2 | test/acc | seconds |"
    assert lines[2:6] == [
        "| slow | off | 50.0 ± 35.4 | 15 |",
        "| slow | on | - | - |",
        "| fast | off | 12.5 | 7 |",
        "| fast | on | - | - |",
    ]
    assert lines[-1] == "test/acc in percent; 0 to 2 seeds a cell."
    axes = report.draw(sweep, table).axes[0]
    assert axes.get_ylabel() == "rule, L2"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slow, off", "slow, on", "fast, off", "fast, on"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["test/acc"]


def test_several_metrics_by_hand_computed_values(sweep_file):
    """The second metric is no share, the third not reported; one run lacks the second, and is not counted as a seed."""
    metrics = ["test/acc", "test/severity", "test/top5"]
    reported = [
        {"rule": "slow", "L2": "off", "values": {"test/severity": 2, "test/acc": 0.25}},
        {"rule": "fast", "L2": "off", "values": {"test/acc": 0.125}},
    ]
    change = {"metrics": metrics, "columns": [], "reported": reported}
    sweep_file.write_text(yaml.safe_dump(FILE | change, sort_keys=False))
    sweep = read(sweep_file)
    made = [("slow,off", 1, (0.5, 1.0, 0.75)), ("slow,off", 2, (0.75, 2.0, 0.75)), ("fast,on", 1, (0.25, 3.0, 0.875))]
    cards = [card(f"table/{cell}", seed, 0) | {"metrics": dict(zip(metrics, v, strict=True))} for cell, seed, v in made]
    cards.append(card("table/fast,on", 2, 0.5))
    table = report.rows(sweep, cards, {cell.folder: "h" for cell in sweep.cells()})
    assert report.markdown(sweep, table).splitlines() == [
        "| rule | L2 | test/acc | test/acc, reported | test/severity | test/severity, reported | test/top5 | seconds |",
        "|---|---|---|---|---|---|---|---|",
        "| slow | off | 62.5 ± 17.7 | 25.0 | 1.5000 ± 0.7071 | 2.0000 | 75.0 ± 0.0 | 10 |",
        "| slow | on | - | - | - | - | - | - |",
        "| fast | off | - | 12.5 | - | - | - | - |",
        "| fast | on | 37.5 ± 17.7 | - | 3.0000 | - | 87.5 | 10 |",
        "",
        "test/acc in percent, test/severity, test/top5 in percent; 0 to 2 seeds a cell.",
    ]
    report.write(sweep, table, Path("out"))
    names = [f"{metric} {each}" for metric in metrics for each in ("mean", "std", "reported")]
    assert Path("out/table.csv").read_text().splitlines() == [
        ",".join(["rule", "L2", "seeds", *names, "seconds"]),
        "slow,off,2,0.625,0.1768,0.25,1.5,0.7071,2,0.75,0,,10",
        "slow,on,0,,,,,,,,,,",
        "fast,off,0,,,0.125,,,,,,,",
        "fast,on,1,0.375,0.1768,,3,,,0.875,,,10",
    ]
    panels = report.draw(sweep, table).axes
    assert [axes.get_xlabel() for axes in panels] == ["test/acc in percent", "test/severity", "test/top5 in percent"]
    dots = [axes.containers[0].lines[0].get_xydata().tolist() for axes in panels]
    assert dots == [[[62.5, 0], [37.5, -3]], [[1.5, 0], [3, -3]], [[75, 0], [87.5, -3]]]
    crosses = [[line.get_xydata().tolist() for line in axes.lines if line.get_label() == "reported"] for axes in panels]
    assert crosses == [[[[25, 0], [12.5, -2]]], [[[2, 0]]], []]
    assert [axes.get_ylabel() for axes in panels] == ["rule, L2", "", ""]
    assert all(axes.get_shared_y_axes().joined(axes, panels[0]) for axes in panels)


def test_accuracy_over_time_by_hand_computed_values(sweep_file):
    """Seeds that reach 75 % after 60 and 20 s, one of two that never does, and a cell without any."""
    change = {"columns": [], "reported": [], "over_time": {"val/acc": 0.75}}
    sweep_file.write_text(yaml.safe_dump(FILE | change, sort_keys=False))
    sweep = read(sweep_file)
    curves = [
        ("slow,off", 1, [30, 60, 90], [0.5, 0.75, 0.25]),
        ("slow,off", 2, [20, 40, 60], [0.875, 0.5, 1.0]),
        ("fast,on", 1, [6, 12], [0.5, 0.625]),
        ("fast,on", 2, [6, 12], [0.5, 0.875]),
    ]
    cards = [
        card(f"table/{cell}", seed, 0.5) | {"over_time": {"seconds": seconds, "val/acc": values}}
        for cell, seed, seconds, values in curves
    ]
    table = report.rows(sweep, cards, {cell.folder: "h" for cell in sweep.cells()})
    assert report.markdown(sweep, table).splitlines()[:6] == [
        "| rule | L2 | test/acc | seconds | seconds to val/acc 75 |",
        "|---|---|---|---|---|",
        "| slow | off | 50.0 ± 0.0 | 10 | 40 |",
        "| slow | on | - | - | - |",
        "| fast | off | - | - | - |",
        "| fast | on | 50.0 ± 0.0 | 10 | never |",
    ]
    report.write(sweep, table, Path("out"))
    assert Path("out/table.csv").read_text().splitlines()[1:3] == ["slow,off,2,0.5,0,,10,40", "slow,on,0,,,,,"]
    assert Path("out/table_over_time.png").is_file()
    (axes,) = draw_over_time(sweep, table).axes
    drawn = [line.get_xydata().tolist() for line in axes.lines[:-1]]
    assert drawn[0] == [[0.5, 50], [1, 75], [1.5, 25]]
    assert drawn[3] == [[0.1, 50], [0.2, 87.5]]
    assert axes.lines[-1].get_ydata() == [75, 75]  # what is to be reached
    colours = [line.get_color() for line in axes.lines[:-1]]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["slow, off", "fast, on"]


def test_options_of_a_sweep_are_those_of_all_cells(sweep_file):
    sweep_file.write_text(yaml.safe_dump(FILE | {"options": {"trainer.max_epochs": 3}}, sort_keys=False))
    for cell in read(sweep_file).cells():
        assert "--trainer.max_epochs=3" in cell.words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": None}, "axes must map the name of each axis"),
        ({"axes": {"a": {"b": 3}}}, r"axes.a must map the name of each choice to its overrides"),
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
        ({"metrics": "test/acc"}, "metrics must be a list of names, got 'test/acc'"),
        ({"metrics": []}, r"metrics must be a list of names, got \[\]"),
        ({"metrics": ["test/acc", "test/loss"]}, r"several metrics need columns: \[\], got L2"),
        ({"metric": "test/acc"}, "a sweep needs config and axes"),
        ({"options": [1]}, r"options must map options to values, got \[1\]"),
        ({"seeds": 3}, "seeds must be a list of integers, got 3"),
        ({"over_time": "val/acc"}, "over_time must map metrics to the values to be reached, got 'val/acc'"),
        ({"over_time": {"val/acc": "high"}}, "over_time must map metrics to the values to be reached"),
        ({"over_time": {"val/acc": 0.5}}, r"over_time needs columns: \[\], got L2"),
        ({"config": "none.yaml"}, "config: no file none.yaml"),
        ({"grid": {}}, "a sweep needs config and axes, and may have options, seeds, metrics, columns, reported, over"),
    ],
)
def test_a_file_that_is_no_sweep(sweep_file, change, message):
    sweep_file.write_text(yaml.safe_dump(FILE | change, sort_keys=False))
    with pytest.raises(ValueError, match=f"table.yaml: {message}"):
        read(sweep_file)


def test_a_cell_that_is_no_command_is_refused_before_any_run(sweep_file, calls, monkeypatch):
    axes = {"rate": {"good": {}, "bad": {"model.rule.learning_rat": 0.1}}}
    sweep_file.write_text(yaml.safe_dump({"config": "tiny.yaml", "axes": axes}))
    with pytest.raises(SystemExit, match=r"error: .*learning_rat"):
        run(monkeypatch, sweep_file)
    assert not calls


def test_missing_file_is_one_line(monkeypatch):
    with pytest.raises(SystemExit, match=r"error: .*none.yaml"):
        run(monkeypatch, "none.yaml")
