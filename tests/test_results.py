import csv
import json

import pytest

from results.__main__ import benchmark_table, collect, read, replace_section, results_table, write_csv


def card(seed, acc, **more):
    return {
        "experiment": "dfad",
        "seed": seed,
        "metrics": {"test/acc": acc, "val/acc": acc, "val/acc_last": acc, "val/acc_mean": acc},
        "seconds": 10.0 * seed,
        "parameters": {"student": 1000, "teacher": 5000},
        "student_share": 0.2,
        "device": "1 x CPU, 2 threads",
        "precision": "32-true",
        "commit": 40 * "a",
        "config_hash": "h",
        "date": "2026-01-01",
        "command": f"python cli.py fit --config configs/dfad.yaml --seed_everything {seed} --model.student_steps=3",
        **more,
    }


def test_cards_become_a_row_each_and_a_mean(tmp_path):
    cards = [card(1, 0.90), card(2, 0.94), card(3, 0.5, commit=40 * "a" + "-dirty"), card(4, 0.5, commit="None")]
    for each in cards:
        folder = tmp_path / f"logs/dfad/version_{each['seed']}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(each))
    collect(tmp_path / "logs", tmp_path / "runs")
    kept = read(tmp_path / "runs")
    assert [each["seed"] for each in kept] == [1, 2]  # runs of uncommitted code are left out
    write_csv(kept, tmp_path / "results.csv")
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [row["test/acc"] for row in rows] == ["0.9000", "0.9400"]
    assert rows[0]["parameters_student"] == "1000"
    table = results_table(kept)
    config = "[dfad](configs/dfad.yaml) `--model.student_steps=3`"
    assert f"| {config} | 2 | 1,000 (20.0% of the teacher) | 92.00 ± 2.83 |" in table
    assert "| 15 | 1 x CPU, 2 threads, 32-true |" in table


def test_the_newest_run_of_a_seed_counts_and_other_options_are_apart(tmp_path):
    for index, each in enumerate(
        [card(1, 0.9, date="2026-02-01"), card(1, 0.1, date="2026-01-01"), card(1, 0.3, config_hash="other")]
    ):
        folder = tmp_path / f"logs/version_{index}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(each))
    collect(tmp_path / "logs", tmp_path / "runs")
    assert [each["metrics"]["test/acc"] for each in read(tmp_path / "runs")] == [0.9, 0.3]
    assert len(results_table(read(tmp_path / "runs")).splitlines()) == 2 + 2


def test_a_run_without_validation_has_a_dash():
    unvalidated = card(1, 0.9)
    unvalidated["metrics"] = {"test/acc": 0.9}
    assert "| 90.00 | - | - | - |" in results_table([unvalidated])


def test_sections_are_replaced_and_nothing_else():
    text = "a\n<!-- x: made by python -m results -->\nold\n<!-- end of x -->\nb"
    new = replace_section(text, "x", "\\1 new")
    assert new == "a\n<!-- x: made by python -m results -->\n\\1 new\n<!-- end of x -->\nb"
    with pytest.raises(ValueError, match="no section"):
        replace_section(text, "y", "")


def test_benchmark_table(tmp_path):
    path = tmp_path / "benchmarks.csv"
    path.write_text("name,other,unit,ours,theirs,ratio,bar,repeats,hardware\nload,PIL,s,1,4,4.123,2,7,x86\n")
    assert "| load | PIL | 1 s | 4 s | **4.12** | 2 |" in benchmark_table(path)
    assert "medians of 7 pairs on x86." in benchmark_table(path)
