"""The cards in results/, and the pages that show them."""

import json
import re
import shutil
import statistics
from collections import defaultdict

import pytest
import yaml
from helpers.commands import ROOT

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.compare.cards import without_paths
from lightning_tasks.runs.formatting import duration, hardware
from lightning_tasks.sweeps.report import timed_alike
from tools.results.__main__ import section
from tools.results.cards import is_current, key, read_all
from tools.results.tables import (
    fill,
)

IN_TABLES = {"mnist_by_hand", "mnist_by_hand_augmented", "mnist_cnn_by_hand", "mnist_cnn_by_hand_60000"}
IN_TABLES |= {"cifar100_multitask"}
ALL = pytest.param(None, marks=pytest.mark.slow, id="all")


class TestCommitted:
    """What this repository shows belongs to the configs beside it."""

    @pytest.fixture
    def folder(self, experiments, monkeypatch, tmp_path):
        """The folder of all cards, or one of those of some experiments."""
        monkeypatch.chdir(ROOT)
        runs = ROOT / "results/runs"
        if experiments is None:
            return runs
        for path in runs.glob("*.json"):
            if json.loads(path.read_text())["experiment"] in experiments:
                shutil.copy(path, tmp_path)
        return tmp_path

    @pytest.mark.slow
    @pytest.mark.parametrize("experiments", [{"mnist_by_hand", "dfad_plus_digits"}, ALL])
    def test_cards_are_of_todays_configs(self, folder):
        cards = read_all(folder, task_parser())
        assert len({key(card) for card in cards}) == len(cards) > 0
        assert [card["command"] for card in cards if not is_current(card, task_parser())] == []

    def test_cards_do_not_tell_where_they_were_made(self):
        for path in (ROOT / "results/runs").rglob("*.json"):
            made = json.loads(path.read_text())
            assert without_paths(made) == made, path
            assert not re.search(r'"/|=/', json.dumps(made)), path

    @pytest.mark.parametrize("experiments", [IN_TABLES, ALL])
    def test_pages_show_what_the_cards_say(self, experiments, folder):
        """Sections made anew are those that stand, but for sweeps, whose tables take longer to read."""
        cards = read_all(folder, task_parser())
        made = set()
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
            text = page.read_text()
            there = dict(re.findall(r"<!-- (.+?): made by make results -->\n(.*?)\n<!-- end", text, re.DOTALL))

            def content(name, there=there):
                kind, _, what = name.partition(" ")
                of_other_cards = kind in ("front", "systems") or not set(what.split(", ")) <= {"", *(experiments or ())}
                if kind == "sweep" or (experiments and of_other_cards):
                    return there[name]
                made.add(kind)
                return section(name, cards)

            assert fill(text, content) == text, page
        assert made >= {"results", "benchmarks", "campaign"}

    def test_comments_of_configs_give_the_time_and_the_accuracy_of_the_cards(self):
        cards = defaultdict(list)
        for path in (ROOT / "results/runs").glob("*.json"):
            card = json.loads(path.read_text())
            cards[card["experiment"]].append(card)
        measured = re.compile(r"([\d.]+ (?:s|min|h) on \d CPU cores?), ([\d.]+) % test accuracy \((\d) seeds?\)")
        found = set()
        for path in (ROOT / "configs").glob("*.yaml"):
            comment = " ".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
            for said in measured.findall(comment):
                runs = cards[path.stem]
                time = duration(statistics.median(card["seconds"] for card in timed_alike(runs)))
                accuracy = statistics.mean(card["metrics"]["test/acc"] for card in runs)
                expected = f"{time} on {hardware(runs[0]['device'])}", f"{100 * accuracy:.1f}", str(len(runs))
                assert said == expected, path
                found.add(path.stem)
            assert not re.search(r" on (\w+) CPU core", measured.sub("", comment)), path
        assert len(found) > 25

    def test_many_errors_of_networks_with_a_tree_are_inside_the_superclass(self):
        """With a wrong map from class to superclass it would be 4 of 99, as by chance, and nearly all across groups."""
        metrics = [json.loads(path.read_text())["metrics"] for path in (ROOT / "results/runs").rglob("*.json")]
        shares = [each["test/same_super"] for each in metrics if "test/same_super" in each]
        assert shares
        assert all(0.2 < share < 0.65 for share in shares), shares

    def test_every_experiment_is_in_a_table(self):
        pages = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
        listed = {name for names in re.findall(r"<!-- results (.+?): made", pages) for name in names.split(", ")}
        cards = list((ROOT / "results/runs").glob("*.json"))
        experiments = {json.loads(path.read_text())["experiment"] for path in cards}
        systems = {row["experiment"] for row in yaml.safe_load((ROOT / "results/systems.yaml").read_text())}
        swept = {f"{name}/" for name in re.findall(r"<!-- sweep (\w+)", pages)}
        assert all(name in listed or name.startswith(tuple(swept)) for name in experiments | systems)
