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
        "commit": "abc",
        **more,
    }


def test_cards_become_a_row_each_and_a_mean(tmp_path):
    cards = [card(1, 0.90), card(2, 0.94), card(3, 0.5, commit="abc-dirty"), card(4, 0.5, commit=None)]
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
    assert "| [dfad](configs/dfad.yaml) | 2 | 1,000 (20.0% of the teacher) | 92.00 ± 2.83 |" in table
    assert "| 15 |" in table


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
    assert "Medians of 7 pairs on x86." in benchmark_table(path)
