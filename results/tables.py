"""The tables of README.md and docs/, as Markdown."""

import csv
import re
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results.cards import Card, by_group
from runs.figures import shown
from runs.identity import option_words

QUIET = (
    "--config",
    "--seed_everything",
    "--trainer.enable_",
    "--trainer.default_root_dir",
    "--data.root",
    "--pictures",
)


def metric(group: list[Card], name: str) -> str:
    """Write a metric over the seeds of a group; a dash where a run has none."""
    values = [card["metrics"][name] for card in group if name in card["metrics"]]
    return shown(name, values) if len(values) == len(group) else "-"


def seconds(group: list[Card]) -> str:
    """Write the median time of a group."""
    return f"{statistics.median(card['seconds'] for card in group):.0f}"


def overrides(card: Card) -> list[str]:
    """Pick out what the command line changed of the config file, without seed and what the terminal shows."""
    return [word for word in option_words(shlex.split(card["command"])[3:]) if not word.startswith(QUIET)]


def results_table(cards: list[Card]) -> str:
    """Write a row for each configuration, device and teacher: its headline over the seeds, and what it cost."""
    lines = [
        "| experiment | seeds | parameters | test | validation, best | last | mean of run | seconds | device |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for group in by_group(cards):
        card = group[0]
        size = card["parameters"].get("student", card["parameters"].get("network", 0))
        share = f" ({card['student_share']:.1%} of the teacher)" if "student_share" in card else ""
        tested = ", ".join(f"{name.removeprefix('test/')} {metric(group, name)}" for name in card["headline"])
        watched = [metric(group, card["monitor"] + suffix) for suffix in ("", "_last", "_mean")]
        options = " ".join(f"`{word}`" for word in overrides(card))
        config = f"[{card['experiment']}](../configs/{card['experiment']}.yaml) {options}".strip()
        lines.append(
            f"| {config} | {len(group)} | {size:,}{share} | {tested} | {' | '.join(watched)} | {seconds(group)}"
            f" | {card['device']}, {card['precision']} |"
        )
    note = "Accuracies in percent, mean ± standard deviation over seeds; seconds of `fit`, median over seeds."
    return "\n".join([*lines, "", note])


def systems_table(systems: list[dict[str, Any]], cards: list[Card]) -> str:
    """Write a row for each system that the courses ask for: what they and others report, and ours by which command.

    Ours is the first metric of the task's headline, or the one that the system names. An experiment `<sweep>/<cell>` is
    a cell of a sweep.
    """
    command = "command: `python cli.py fit --config`, or `python -m sweeps`"
    lines = [
        f"| | system | reported | best public | ours, test | seeds | {command} | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for system in systems:
        name = system["experiment"]
        sweep, _, cell = name.partition("/")
        config = f"configs/sweeps/{sweep}.yaml" if cell else f"configs/{name}.yaml"
        groups = by_group([card for card in cards if card["experiment"] == name and (cell or not overrides(card))])
        lacks = f", needs {system['needs']}" if "needs" in system else ""
        ours, count, time = f"not run yet{lacks}", "-", "-"
        if groups:
            group = max(groups, key=len)
            ours, count = metric(group, system.get("metric", group[0]["headline"][0])), str(len(group))
            time = f"{seconds(group)} s, {group[0]['device']}"
        lines.append(
            f"| {system['row']} | [{system['system']}]({system['page']}) | {system['reported']} | {system['public']}"
            f" | {ours} | {count} | [`{config}`]({config}) | {time} |"
        )
    return "\n".join(lines)


def benchmark_table(path: Path) -> str:
    """Write the measured ratios beside what was asked for."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| what | against | ours | other | ratio | asked |", "|---|---|---|---|---|---|"]
    notes = set()
    for row in rows:
        unit = row["unit"]
        lines.append(
            f"| {row['name']} | {row['other']} | {row['ours']} {unit} | {row['theirs']} {unit}"
            f" | **{float(row['ratio']):.3g}** | {float(row['bar']):.2g} |"
        )
        notes.add(f"medians of {row['repeats']} pairs on {row['hardware']}")
    return "\n".join([*lines, "", f"All are {'; '.join(sorted(notes))}."])


def campaign_table(path: Path) -> str:
    """Write what the campaign of tests/campaign tried, and how often it went well."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| | tried | passed | failed |", "|---|---|---|---|"]
    lines += [f"| {row['what']} | {row['tried']} | {row['passed']} | {row['failed']} |" for row in rows]
    skipped = sum(int(row["skipped"]) for row in rows)
    commits = ", ".join(dict.fromkeys(re.sub(r"^(\w{10})\w*", r"\1", row["commit"]) for row in rows))
    return "\n".join([*lines, "", f"Of commit {commits}; {skipped} were left out."])


def fill(text: str, content: Callable[[str], str]) -> str:
    """Replace what stands between the markers of each section of a page.

    Args:
        text: A page with sections `<!-- NAME: made by python -m results -->` ... `<!-- end of NAME -->`.
        content: Makes the content of a section from its name.

    Raises:
        ValueError: If a section has no end.
    """
    for name in re.findall(r"<!-- (.+?): made by python -m results -->", text):
        start, end = f"<!-- {name}: made by python -m results -->", f"<!-- end of {name} -->"
        if text.count(end) != 1:
            raise ValueError(f"no section between {start!r} and {end!r}")
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{content(name)}\n{end}{rest.partition(end)[2]}"
    return text
