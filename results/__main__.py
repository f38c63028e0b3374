"""Collect run cards and write the tables of README.md from them: `python -m results [--logs logs]`.

Copies each `logs/**/run.json` whose run is the work of one commit to `results/runs/`, which is kept in git, writes
`results/results.csv` with one row a run, the tables and pictures of the sweeps to `results/sweeps/`, and replaces what
stands between the markers in README.md.
"""

import argparse
import csv
import json
import re
import shlex
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from cli import parse
from sweeps import report
from sweeps.plan import read as read_sweep

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
COLUMNS = (
    "experiment",
    "seed",
    "seconds",
    "epochs",
    "peak_memory_mb",
    "device",
    "precision",
    "student_share",
    "min_class_entropy",
    "collapsed_epochs",
    "commit",
    "date",
    "config_hash",
    "command",
)

Card = dict[str, Any]


def collect(logs: Path, runs: Path) -> None:
    """Copy the cards of runs of committed code; the newest run of a configuration and seed replaces the former."""
    for path in logs.glob("**/run.json"):
        card = json.loads(path.read_text())
        if re.fullmatch("[0-9a-f]{40}", card["commit"]) is None:
            print(f"left out, since it is not the work of one commit: {path} ({card['commit']})")
            continue
        target = runs / f"{card['experiment']}-{card['config_hash']}-{card['seed']}.json"
        if not target.exists() or json.loads(target.read_text())["date"] < card["date"]:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(card, indent=2) + "\n")


def read(runs: Path) -> list[Card]:
    """Read all cards, by experiment, configuration and seed."""
    cards = [json.loads(path.read_text()) for path in runs.rglob("*.json")]
    return sorted(cards, key=lambda card: (card["experiment"], card["config_hash"], card["seed"]))


def write_csv(cards: list[Card], path: Path) -> None:
    """Write one row a run: the columns above, then every metric and every parameter count that any run has."""
    metrics = sorted({name for card in cards for name in card["metrics"]})
    networks = sorted({name for card in cards for name in card["parameters"]})
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *metrics, *(f"parameters_{name}" for name in networks)])
        for card in cards:
            writer.writerow(
                [
                    *(card.get(name, "") for name in COLUMNS),
                    *(f"{card['metrics'][name]:.4f}" if name in card["metrics"] else "" for name in metrics),
                    *(card["parameters"].get(name, "") for name in networks),
                ]
            )


def spread(group: list[Card], metric: str) -> str:
    """Write a share as its mean and standard deviation over seeds, in percent; a dash where a run has none."""
    values = [card["metrics"][metric] for card in group if metric in card["metrics"]]
    if len(values) < len(group):
        return "-"
    mean = f"{100 * statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.2f}"


def overrides(card: Card) -> str:
    """Pick out what the command line changed of the config file, without seed and what the terminal shows."""
    words = shlex.split(card["command"])[3:]
    shown = []
    while words:
        word = words.pop(0)
        if "=" not in word and words and not words[0].startswith("--"):
            word = f"{word}={words.pop(0)}"
        quiet = ("--config", "--seed_everything", "--trainer.enable_", "--trainer.default_root_dir", "--data.root")
        if not word.startswith(quiet):
            shown.append(f"`{word}`")
    return " ".join(shown)


def results_table(cards: list[Card]) -> str:
    """Write a row a configuration and device: percentages over its seeds, and what it cost."""
    groups: dict[tuple[str, ...], list[Card]] = defaultdict(list)
    for card in cards:
        if "/" in card["experiment"]:
            continue  # of a sweep, which has a table of its own
        groups[card["experiment"], card["config_hash"], card["device"], card["precision"]].append(card)
    lines = [
        "| experiment | seeds | parameters | test acc. | val acc., best | last | mean of run | seconds | device |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (experiment, _, device, precision), group in groups.items():
        card = group[0]
        size = card["parameters"].get("student", card["parameters"].get("network", 0))
        share = f" ({card['student_share']:.1%} of the teacher)" if "student_share" in card else ""
        accuracies = [spread(group, name) for name in ("test/acc", "val/acc", "val/acc_last", "val/acc_mean")]
        seconds = f"{statistics.median(each['seconds'] for each in group):.0f}"
        config = f"[{experiment}](configs/{experiment}.yaml) {overrides(card)}".strip()
        lines.append(
            f"| {config} | {len(group)} | {size:,}{share} | {' | '.join(accuracies)} | {seconds}"
            f" | {device}, {precision} |"
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


def replace_section(text: str, name: str, content: str) -> str:
    """Put content between the markers of a section.

    Raises:
        ValueError: If the text has no such markers.
    """
    start, end = f"<!-- {name}: made by python -m results -->", f"<!-- end of {name} -->"
    if start not in text or end not in text:
        raise ValueError(f"no section between {start!r} and {end!r}")
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{start}\n{content}\n{end}", text)


def main() -> None:
    """Collect, then write the CSV and the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=Path, default=HERE.parent / "logs", help="where to look for run cards")
    options = parser.parse_args()
    collect(options.logs, HERE / "runs")
    cards = read(HERE / "runs")
    write_csv(cards, HERE / "results.csv")
    text = replace_section(README.read_text(), "results", results_table(cards))
    if (HERE / "benchmarks.csv").exists():
        text = replace_section(text, "benchmarks", benchmark_table(HERE / "benchmarks.csv"))
    for file in sorted((HERE.parent / "configs" / "sweeps").glob("*.yaml")):
        sweep = read_sweep(file)
        hashes = {cell.folder: parse(sweep.command(cell)).config_hash for cell in sweep.cells()}
        table = report.rows(sweep, cards, hashes)
        report.write(sweep, table, HERE / "sweeps")
        text = replace_section(text, f"sweep {sweep.name}", report.markdown(sweep, table))
    README.write_text(text)
    print(f"{len(cards)} runs in {HERE / 'results.csv'}; tables of {README} written")


if __name__ == "__main__":
    main()
