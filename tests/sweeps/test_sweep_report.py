"""What is made of the run cards of a sweep: table, data and pictures, computed by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers.commands import SWEEP

from lightning_tasks.sweeps import report
from lightning_tasks.sweeps.plan import read
from lightning_tasks.sweeps.plots import draw_over_time, draw_trade_off


def card(experiment, seed, value, date="2026-01-01"):
    return {
        "experiment": experiment,
        "seed": seed,
        "metrics": {"test/acc": value},
        "seconds": 10.0,
        "device": "1 x CPU, 2 threads",
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
    assert text.endswith("test/acc in percent by L2; 0 to 2 seeds per cell.")
    losses = replace(sweep, metrics=["val/loss"], reported=[])
    cards = [each | {"metrics": {"val/loss": 0.25}} for each in cards[:1]]
    assert "| slow | 0.2500 | - |\n" in report.markdown(losses, report.rows(losses, cards, hashes))


def test_a_table_without_columns_shows_what_it_cost(sweep_file):
    """Cells of 2, 1 and 0 runs; the two take 10 and 20 s."""
    sweep_file.write_text(yaml.safe_dump(SWEEP | {"columns": [], "reported": []}, sort_keys=False))
    sweep = read(sweep_file)
    hashes = {cell.folder: "x" for cell in sweep.cells()}
    base = {"config_hash": "x", "date": "2026-01-01", "device": "1 x CPU, 1 threads"}
    made = [(0, 1, 0.25, 10), (0, 2, 0.75, 20), (2, 1, 0.125, 7)]
    cards = [
        base
        | {"experiment": sweep.experiment(sweep.cells()[cell]), "seed": seed, "seconds": seconds}
        | {"metrics": {"test/acc": value}}
        for cell, seed, value, seconds in made
    ]
    table = report.rows(sweep, cards, hashes)
    lines = report.markdown(sweep, table).splitlines()
    assert lines[0] == "| rule | L2 | test/acc | time |"
    assert lines[2:6] == [
        "| slow | off | 50.0 ± 35.4 | 15 s |",
        "| slow | on | - | - |",
        "| fast | off | 12.5 | 7 s |",
        "| fast | on | - | - |",
    ]
    assert lines[-1] == "Accuracies in percent; 0 to 2 seeds per cell; median time of a run, on 1 CPU core."
    axes = report.draw(sweep, table).axes[0]
    assert axes.get_ylabel() == "rule, L2"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slow, off", "slow, on", "fast, off", "fast, on"]
    assert axes.get_legend() is None  # the label of the other axis says it


def test_several_metrics_by_hand_computed_values(sweep_file):
    """The second metric is no share, the third not reported; one run lacks the second, and is not counted as a seed."""
    metrics = ["test/acc", "test/severity", "test/top5"]
    reported = [
        {"rule": "slow", "L2": "off", "values": {"test/severity": 2, "test/acc": 0.25}},
        {"rule": "fast", "L2": "off", "values": {"test/acc": 0.125}},
    ]
    trade_off = ["test/severity", "test/acc"]
    change = {"metrics": metrics, "columns": [], "reported": reported, "trade_off": trade_off}
    sweep_file.write_text(yaml.safe_dump(SWEEP | change, sort_keys=False))
    sweep = read(sweep_file)
    made = [("slow,off", 1, (0.5, 1.0, 0.75)), ("slow,off", 2, (0.75, 2.0, 0.75)), ("fast,on", 1, (0.25, 3.0, 0.875))]
    cards = [card(f"table/{cell}", seed, 0) | {"metrics": dict(zip(metrics, v, strict=True))} for cell, seed, v in made]
    cards.append(card("table/fast,on", 2, 0.5))
    table = report.rows(sweep, cards, {cell.folder: "h" for cell in sweep.cells()})
    assert report.markdown(sweep, table).splitlines() == [
        "| rule | L2 | test/acc | test/acc, reported | test/severity | test/severity, reported | test/top5 | time |",
        "|---|---|---|---|---|---|---|---|",
        "| slow | off | 62.5 ± 17.7 | 25.0 | 1.5000 ± 0.7071 | 2.0000 | 75.0 ± 0.0 | 10 s |",
        "| slow | on | - | - | - | - | - | - |",
        "| fast | off | - | 12.5 | - | - | - | - |",
        "| fast | on | 37.5 ± 17.7 | - | 3.0000 | - | 87.5 | 10 s |",
        "",
        "Accuracies in percent; 0 to 2 seeds per cell; median time of a run, on 2 CPU cores.",
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
    assert Path("out/table_trade_off.png").is_file()
    (axes,) = draw_trade_off(sweep, table).axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1.5, 62.5]], [[3, 37.5]]]
    assert [(text.get_text(), text.xy) for text in axes.texts] == [("slow, off", (1.5, 62.5)), ("fast, on", (3, 37.5))]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("test/severity", "test/acc in percent")


def test_accuracy_over_time_by_hand_computed_values(sweep_file):
    """Seeds that reach 75 % after 60 and 20 s, one of two that never does, and a cell without any."""
    change = {"columns": [], "reported": [], "over_time": {"val/acc": 0.75}}
    sweep_file.write_text(yaml.safe_dump(SWEEP | change, sort_keys=False))
    sweep = read(sweep_file)
    curves = [
        ("slow,off", 1, [30, 60, 90], [0.5, 0.75, 0.25]),
        ("slow,off", 2, [20, 40], [0.875, 0.5]),
        ("fast,on", 1, [6, 12], [0.5, 0.625]),
        ("fast,on", 2, [6, 12], [0.5, 0.875]),
    ]
    cards = [
        card(f"table/{cell}", seed, 0.5) | {"over_time": {"seconds": seconds, "val/acc": values}}
        for cell, seed, seconds, values in curves
    ]
    table = report.rows(sweep, cards, {cell.folder: "h" for cell in sweep.cells()})
    assert report.markdown(sweep, table).splitlines()[:6] == [
        "| rule | L2 | test/acc | time | time to val/acc 75 |",
        "|---|---|---|---|---|",
        "| slow | off | 50.0 ± 0.0 | 10 s | 40 s |",
        "| slow | on | - | - | - |",
        "| fast | off | - | - | - |",
        "| fast | on | 50.0 ± 0.0 | 10 s | never |",
    ]
    report.write(sweep, table, Path("out"))
    assert Path("out/table.csv").read_text().splitlines()[1:3] == ["slow,off,2,0.5,0,,10,40", "slow,on,0,,,,,"]
    assert Path("out/table_over_time.png").is_file()
    (axes,) = draw_over_time(sweep, table).axes  # of seconds minutes, of shares percent
    drawn = [line.get_xydata().tolist() for line in axes.lines[:-1]]
    assert drawn[0] == [[0.5, 50], [1, 75], [1.5, 25]]
    assert drawn[2] == [pytest.approx([5 / 12, 68.75]), pytest.approx([5 / 6, 62.5])]  # as far as both came
    assert drawn[4] == [[0.1, 50], [0.2, 87.5]]
    assert drawn[5] == [pytest.approx([0.1, 50]), pytest.approx([0.2, 75])]
    assert axes.lines[-1].get_ydata() == [75, 75]  # what is to be reached
    colours = [line.get_color() for line in axes.lines[:-1]]
    assert len({*colours[:3]}) == len({*colours[3:]}) == 1
    assert colours[0] != colours[3]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["slow, off", "fast, on"]


def test_times_are_those_of_the_most_frequent_precision_and_device(sweep_file):
    """Two of four seeds in bfloat16; the others took longer, in float32 and on more threads."""
    change = {"columns": [], "reported": [], "over_time": {"val/acc": 0.75}, "seeds": [1, 2, 3, 4]}
    sweep_file.write_text(yaml.safe_dump(SWEEP | change, sort_keys=False))
    sweep = read(sweep_file)
    kinds = [("32-true", 1, 900), ("bf16-mixed", 1, 40), ("bf16-mixed", 2, 500), ("bf16-mixed", 1, 60)]
    cards = [
        card("table/slow,off", seed, 0.1 * seed)
        | {"precision": precision, "device": f"1 x CPU, {threads} threads", "seconds": seconds}
        | {"over_time": {"seconds": [seconds], "val/acc": [0.8]}}
        for seed, (precision, threads, seconds) in enumerate(kinds, 1)
    ]
    row = report.rows(sweep, cards, {cell.folder: "h" for cell in sweep.cells()})[0]
    assert row["test/acc mean"] == pytest.approx(0.25)  # of all four
    assert (row["seconds"], row["seconds to val/acc 75"], row["devices"]) == (50, 50, {"1 x CPU, 1 threads"})
    assert [each["seconds"] for each in row["over_time"]] == [[40], [60]]


def test_costs_are_reached_from_above_and_unknown_metrics_never(sweep_file):
    change = {"columns": [], "reported": [], "over_time": {"val/loss": 1, "val/none": 0.5}}
    sweep_file.write_text(yaml.safe_dump(SWEEP | change, sort_keys=False))
    sweep = read(sweep_file)
    made = card("table/slow,off", 1, 0.5) | {"over_time": {"seconds": [5, 9, 12], "val/loss": [2.0, 1.0, 0.5]}}
    table = report.rows(sweep, [made], {cell.folder: "h" for cell in sweep.cells()})
    heads, _, first = report.markdown(sweep, table).splitlines()[:3]
    assert heads.endswith("| time | time to val/loss 1.0000 | time to val/none 50 |")
    assert first == "| slow | off | 50.0 | 10 s | 9 s | - |"
    losses, none = draw_over_time(sweep, table).axes
    assert losses.lines[0].get_ydata().tolist() == [2.0, 1.0, 0.5]
    assert len(none.lines) == 1
    assert losses.get_legend() is None
    assert none.get_legend() is not None  # at the right of all panels
    nothing = report.rows(sweep, [], {cell.folder: "h" for cell in sweep.cells()})
    assert all(axes.get_legend() is None for axes in draw_over_time(sweep, nothing).axes)


@pytest.mark.parametrize("reported", [[], SWEEP["reported"]], ids=len)
def test_picture_names_what_others_report_if_they_do(sweep_file, reported):
    sweep_file.write_text(yaml.safe_dump(SWEEP | {"reported": reported}, sort_keys=False))
    sweep = read(sweep_file)
    cards = [card(sweep.experiment(cell), 1, 0.1 + 0.1 * index) for index, cell in enumerate(sweep.cells()[:3])]
    axes = report.draw(sweep, report.rows(sweep, cards, {cell.folder: "h" for cell in sweep.cells()})).axes[0]
    values = {each.get_label(): each.lines[0].get_xdata().tolist() for each in axes.containers}
    assert values == {"L2 off": pytest.approx([10, 30]), "L2 on": pytest.approx([20])}
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == [*(["reported"] if reported else []), "L2 off", "L2 on"]
