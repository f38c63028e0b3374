"""README.md: its length and order, and the figures that its sentences name."""

import json
import re
from pathlib import Path
from statistics import median

import pytest
import yaml
from helpers.commands import ROOT, run_cli

from datamodules import DigitsDataModule

TEXT = (ROOT / "README.md").read_text()
LINES = TEXT.splitlines()


def cards(pattern):
    return [json.loads(path.read_text()) for path in (ROOT / "results/runs").glob(pattern)]


def test_it_is_short_and_the_first_command_comes_early_under_a_picture():
    assert len(LINES) <= 150
    command = next(index for index, line in enumerate(LINES, 1) if line.startswith("make quickstart"))
    picture = next(index for index, line in enumerate(LINES, 1) if line.startswith("!["))
    assert picture < command <= 25


def test_sections_are_in_the_order_of_a_readers_questions():
    assert re.findall(r"^## (.+)$", TEXT, re.MULTILINE) == [
        "Quick start",
        "Results",
        "Distil your own network",
        "Tasks",
        "Reproducibility",
        "Tested on",
        "Limits",
        "Contributing, citing, licence",
    ]


def test_the_table_is_short_and_has_no_row_without_a_figure():
    table = TEXT.partition("<!-- front: made by make results -->")[2].partition("<!-- end of front -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| [")]
    assert 6 <= len(rows) <= 8
    assert all(row.count(" | ") == 4 for row in rows)
    assert "not run" not in table
    assert rows[0].startswith("| [Data-free")


def test_figures_in_its_sentences_are_those_of_the_cards():
    systems = yaml.safe_load((ROOT / "results/systems.yaml").read_text())
    (rows,) = re.findall(r"lists\s+all\s+(\d+)\s+systems", TEXT)
    assert int(rows) == len(systems)
    teachers = {
        r"public ResNet-20 \((\S+) %\)": [
            card["metrics"]["test/acc_teacher"] for card in cards("dfad_cifar10/47-,DFAD+-*")
        ],
        r"ResNet-34 teacher with ImageNet stem \((\S+) %\)": [
            card["metrics"]["test/acc_teacher"] for card in cards("dfad_plus_torchvision-*")
        ],
        r"12-layer teacher \((\S+) %\)": [card["metrics"]["test/acc"] for card in cards("tinyimagenet_teacher-*")],
    }
    for said, measured in teachers.items():
        (accuracy,) = re.findall(said, TEXT)
        assert measured == pytest.approx([float(accuracy) / 100] * len(measured), abs=0.0005)
    ((command, percent, seconds),) = re.findall(r"configs/(\w+)\.yaml` \(MNIST, (\d+) % in (\d+) s\)", TEXT)
    fast = cards(f"{command}-*.json")
    assert all(card["metrics"]["test/acc"] >= int(percent) / 100 for card in fast)
    assert round(median(card["seconds"] for card in fast)) == int(seconds)  # as in the tables
    data = DigitsDataModule()
    data.prepare_data()
    data.setup("fit")
    assert f"selected on {len(data.val_set)} real digits and tested on {len(data.test_set)} others" in " ".join(
        TEXT.split()
    )


def test_it_leads_to_every_page():
    names = {Path(name).name for name in re.findall(r"\]\((docs/\w+\.md)", TEXT)}
    assert names == {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}  # the site's front page


def test_the_quick_start_prints_what_is_shown(teacher_ckpt, capsys):
    """The same lines with other numbers, of a run with a smaller teacher."""
    shown = TEXT.partition("```\nquickstart: DFADTask\n")[2].partition("```")[0]
    words = ["--model.teacher.init_args.width=4", "--model.student.init_args.width=2", "--model.student_share=null"]
    words += ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", f"--model.teacher_ckpt={teacher_ckpt}"]
    run_cli("fit", f"--config={ROOT}/configs/quickstart.yaml", *words, "--data.steps_per_epoch=2")
    out = capsys.readouterr().out

    def form(text):
        lines = [re.sub(r"(\d[\d,.]*)", "N", line) for line in text.splitlines()]
        return [re.sub(" +", " ", line.strip()) for line in lines if line]

    printed = form(out)
    missing = [line for line in form(shown) if line not in printed and line != "..."]
    assert missing == []
