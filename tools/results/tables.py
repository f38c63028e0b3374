"""The tables of README.md and docs/, as Markdown."""

import csv
import re
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_tasks.compare.cards import Card
from lightning_tasks.runs.formatting import duration, hardware, shown
from lightning_tasks.runs.identity import option_args
from lightning_tasks.sweeps.report import timed_alike
from tools.results.cards import by_group, used

HEADLINE = "A4"  # the document's row of data-free distillation
QUIET = (
    "--config",
    "--seed_everything",
    "--trainer.enable_",
    "--trainer.default_root_dir",
    "--data.root",
    "--model.teacher_ckpt",
    "--model.recogniser_ckpt",
    "--plots",
    "--prepare",
)


def metric(group: list[Card], name: str) -> str:
    """Write a metric over the seeds of a group; a dash where a run has none."""
    values = [card["metrics"][name] for card in group if name in card["metrics"]]
    return shown(name, values) if len(values) == len(group) else "-"


def time(group: list[Card]) -> str:
    """Write the median time of a group, and on what it was taken."""
    seconds = statistics.median(card["seconds"] for card in timed_alike(group))
    return f"{duration(seconds)}, {hardware(group[0]['device'])}"


def overrides(card: Card) -> list[str]:
    """Pick out what the command line changed of the config file, without seed and what the terminal shows."""
    return [word for word in option_args(shlex.split(card["command"])[3:]) if not word.startswith(QUIET)]


def results_table(cards: list[Card]) -> str:
    """Write a row for each configuration, device and teacher: its headline over the seeds, and its time."""
    lines = ["| experiment | parameters | test | validation: best, last, mean | time |", "|---|---|---|---|---|"]
    for group in by_group(cards):
        card = group[0]
        size = card["parameters"].get("student", card["parameters"].get("network", 0))
        share = f" ({card['student_share']:.1%} of the teacher's)" if "student_share" in card else ""
        tested = ", ".join(f"{name.removeprefix('test/')} {metric(group, name)}" for name in card["headline"])
        if "test/acc_teacher" in card["metrics"]:
            tested += f", teacher {metric(group, 'test/acc_teacher')}"
        watched = ", ".join(metric(group, card["monitor"] + suffix) for suffix in ("", "_last", "_mean"))
        options = " ".join(f"`{word}`" for word in overrides(card))
        config = f"[{card['experiment']}](../configs/{card['experiment']}.yaml) {options}".strip()
        seeds = f"{len(group)} seed{'s' * (len(group) > 1)}"
        lines.append(f"| {config} | {size:,}{share} | {tested} ({seeds}) | {watched} | {time(group)} |")
    note = (
        "Accuracies in percent, mean ± standard deviation over seeds. *Validation*: the metric that selects the"
        " checkpoint; its *mean* is over all validations."
    )
    return "\n".join([*lines, "", note])


def systems_table(systems: list[dict[str, Any]], cards: list[Card]) -> str:
    """Write a row for each system of a document: what it and others report, and ours by which config.

    Args:
        systems: As results/systems.yaml has them. Ours is the first metric of the task's headline, or `metric`; an
            experiment `<sweep>/<cell>` is a cell of a sweep.
        cards: Cards of all runs.
    """
    lines = ["| system | course | best public | ours, test | config | time |", "|---|---|---|---|---|---|"]
    for system in systems:
        sweep, _, cell = system["experiment"].partition("/")
        config = f"sweeps/{sweep}" if cell else sweep
        ours, cost = figures(system, cards)
        lines.append(
            f"| [{system['system']}]({system['page']}) | {system['reported']} | {system['public']} | {ours}"
            f" | [{config}](../configs/{config}.yaml) | {cost} |"
        )
    return "\n".join(lines)


def front_table(systems: list[dict[str, Any]], cards: list[Card]) -> str:
    """Write the rows of README.md: the systems with `front`, those of data-free distillation first."""
    lines = ["| task and data | ours, test | course | best public | time |", "|---|---|---|---|---|"]
    chosen = [system for system in systems if "front" in system]
    for system in sorted(chosen, key=lambda each: each["row"] != HEADLINE):
        ours, cost = figures(system, cards)
        task = f"[{system['front']}](docs/{system['page']})"
        lines.append(f"| {task} | {ours} | {system['reported']} | {system['public']} | {cost} |")
    return "\n".join(lines)


def figures(system: dict[str, Any], cards: list[Card]) -> tuple[str, str]:
    """Write the metric of a system over the seeds, and what it took: the most seeds of one configuration and device."""
    name, options = system["experiment"], system.get("options", [])
    cell = "/" in name
    groups = by_group([card for card in cards if card["experiment"] == name and (cell or overrides(card) == options)])
    if not groups:
        return f"not run yet{f', needs {needs}' if (needs := system.get('needs')) else ''}", "-"
    group = max(groups, key=len)
    teachers = {" ".join(used(card)) for card in group}
    seeds = "1 seed" if len(group) == 1 else f"{len(group)} seeds"
    if len(group) > 1 and used(group[0]) and _learns_from_teacher(group[0]):
        seeds += ", one teacher" if len(teachers) == 1 else f", {len(teachers)} teachers"
    return f"{metric(group, system.get('metric', group[0]['headline'][0]))} ({seeds})", time(group)


def _learns_from_teacher(card: Card) -> bool:
    """Say whether a teacher does more than show how often a student agrees with it."""
    return bool(card["configuration"]["model"]["init_args"].get("distil", True))


def without(table: str, columns: list[str]) -> str:
    """Leave columns out of a Markdown table, and keep the lines below it, but for what they say of left-out times."""
    if "time" in columns:
        table = re.sub(r"; median time of a run, on ([^.]*)\.$", r"; \1.", table)
    rows = [line.split("|") for line in table.splitlines()]
    kept = [place for place, head in enumerate(rows[0]) if head.strip() not in columns or not head]
    lines = ([row[place] for place in kept] if len(row) == len(rows[0]) else row for row in rows)
    return "\n".join(map("|".join, lines))


def benchmark_table(path: Path) -> str:
    """Write the measured ratios beside what was asked for.

    Raises:
        ValueError: If a line has not as many fields as the first.
    """
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    if wrong := [row["name"] for row in rows if None in row or None in row.values()]:
        raise ValueError(f"{path}: not as many fields as the first line: {', '.join(wrong)}")
    lines = ["| benchmark | baseline | ours | baseline's | speed-up | target |", "|---|---|---|---|---|---|"]
    for row in rows:
        unit = row["unit"]
        lines.append(
            f"| {row['name']} | {row['other']} | {row['ours']} {unit} | {row['theirs']} {unit}"
            f" | **{float(row['ratio']):.3g}** | {float(row['bar']):.2g} |"
        )
    repeats = sorted({int(row["repeats"]) for row in rows})
    machines = " or ".join(sorted({row["hardware"] for row in rows}))
    pairs = " to ".join(map(str, sorted({repeats[0], repeats[-1]})))
    return "\n".join([*lines, "", f"Medians of {pairs} pairs on {machines}."])


def campaign_table(path: Path) -> str:
    """Write what the campaign of tests/campaign tried, and how often it went well."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| | cases | passed | failed |", "|---|---|---|---|"]
    lines += [f"| {row['what']} | {row['tried']} | {row['passed']} | {row['failed']} |" for row in rows]
    skipped = sum(int(row["skipped"]) for row in rows)
    commits = ", ".join(dict.fromkeys(re.sub(r"^(\w{10})\w*", r"\1", row["commit"]) for row in rows))
    return "\n".join([*lines, "", f"Commits {commits}; {skipped} skipped."])


def fill(text: str, content: Callable[[str], str]) -> str:
    """Replace what stands between the markers of each section of a page.

    Args:
        text: A page with sections `<!-- NAME: made by make results -->` ... `<!-- end of NAME -->`.
        content: Makes the content of a section from its name.

    Raises:
        ValueError: If a section has no end.
    """
    for name in re.findall(r"<!-- (.+?): made by make results -->", text):
        start, end = f"<!-- {name}: made by make results -->", f"<!-- end of {name} -->"
        if text.count(end) != 1:
            raise ValueError(f"no section between {start!r} and {end!r}")
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{content(name)}\n{end}{rest.partition(end)[2]}"
    return text
