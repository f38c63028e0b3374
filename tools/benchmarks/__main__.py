"""Run benchmarks, print their table and keep it: `python -m tools.benchmarks [--root data] [name ...]`."""

import argparse
import csv
import os
import platform
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lightning_tasks.callbacks.run_card import commit

NAMES = (
    "startup",
    "data_path",
    "folder",
    "tiny_imagenet",
    "kd",
    "drawings",
    "sketch",
    "live",
    "dfad_round",
    "student_step",
    "lightning_cost",
    "classifiers",
    "multi_task",
    "by_hand",
)
RESULTS = Path(__file__).parents[2] / "results" / "benchmarks.csv"


def main() -> None:
    """Replace the rows of what is measured; keep those of what is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(NAMES)}; all if none is named")
    parser.add_argument("--root", type=os.path.expanduser, default="data", help="folder of the data sets")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    measured_on = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    code = commit()
    rows = {}
    if RESULTS.exists():
        with open(RESULTS, newline="") as file:
            rows = {(row["name"], row["other"]): row for row in csv.DictReader(file)}
    for module in options.names or NAMES:
        for row in import_module(f"tools.benchmarks.{module}").run(options.root):
            numbers = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in asdict(row).items()}
            rows[row.name, row.other] = numbers | {"hardware": measured_on, "commit": code}
        with open(RESULTS, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(next(iter(rows.values()))), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows.values())
    table = Table("benchmark", "baseline", "ours", "other", "speed-up", "target", title=measured_on)
    for row in rows.values():
        unit = row["unit"]
        table.add_row(
            row["name"], row["other"], f"{row['ours']} {unit}", f"{row['theirs']} {unit}", row["ratio"], str(row["bar"])
        )
    Console().print(table)


if __name__ == "__main__":
    main()
