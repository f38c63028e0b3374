"""Run cards as tables: `make results`.

Copies each `logs/**/run.json` whose run is whole and the work of one commit to `results/runs/`, which is kept in git,
writes `results/results.csv` with one row a run, the tables and plots of the sweeps to `results/sweeps/`, a plot
of the errors of one of them to `results/plots/`, and replaces what stands between the markers in README.md and
the pages of docs/.
"""

import argparse
import os
from pathlib import Path

import yaml

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.runs.identity import config_hash, read_command
from lightning_tasks.runs.paths import user_path
from lightning_tasks.sweeps import report
from lightning_tasks.sweeps.plan import read as read_sweep
from tools.results import cards as run_cards
from tools.results import error_kinds, front
from tools.results.tables import (
    benchmark_table,
    campaign_table,
    fill,
    front_table,
    results_table,
    systems_table,
    without,
)

ROOT = Path(__file__).parents[2]
HERE = ROOT / "results"


def section(name: str, cards: list[run_cards.Card]) -> str:
    """Make the content of a section of a page.

    Its name is "front", "systems X" of a document X, "benchmarks", "campaign", "results A, B", "sweep NAME" or
    "sweep NAME without A; B", of which the columns A and B are left out.

    Raises:
        ValueError: If there is no such section.
    """
    kind, _, what = name.partition(" ")
    systems = yaml.safe_load((HERE / "systems.yaml").read_text())
    if kind == "front":
        return front_table(systems, cards)
    if kind == "systems":
        return systems_table([system for system in systems if system["row"] == what], cards)
    if kind == "benchmarks":
        return benchmark_table(HERE / "benchmarks.csv")
    if kind == "campaign":
        return campaign_table(HERE / "campaign.csv")
    if kind == "results":
        wanted = what.split(", ")
        return results_table([card for each in wanted for card in cards if card["experiment"] == each])
    if kind == "sweep":
        what, _, left_out = what.partition(" without ")
        sweep = read_sweep(Path("configs", "sweeps", f"{what}.yaml"))
        hashes = {cell.folder: config_hash(read_command(task_parser(), sweep.command(cell))) for cell in sweep.cells()}
        table = report.rows(sweep, cards, hashes)
        report.write(sweep, table, HERE / "sweeps")
        return without(report.markdown(sweep, table), left_out.split("; "))
    raise ValueError(f"no section {name!r}")


def write(logs: Path) -> None:
    """Collect the cards, then write the CSV and the tables."""
    os.chdir(ROOT)  # commands name their configs from here
    run_cards.collect(logs, HERE / "runs", task_parser())
    cards = run_cards.read_all(HERE / "runs", task_parser())
    run_cards.write_csv(cards, HERE / "results.csv")
    stale = [card for card in cards if not run_cards.is_current(card, task_parser())]
    for card in stale:
        print(f"not in the tables, since its config is another by now: {card['experiment']}, seed {card['seed']}")
    current = [card for card in cards if card not in stale]
    if error_kinds.shares(current):
        plot = HERE / "plots" / "cifar100_multitask_errors.png"
        plot.parent.mkdir(exist_ok=True)
        error_kinds.draw(current).savefig(plot, dpi=110, bbox_inches="tight")
    if (images := front.synthetic_images(logs, HERE / "plots")).is_file():
        front.draw(current, images).savefig(HERE / "plots" / "front.png", dpi=160)
    for page in (Path("README.md"), *sorted(Path("docs").rglob("*.md"))):
        page.write_text(fill(page.read_text(), lambda name: section(name, current)))
    print(f"{len(cards)} runs in {HERE / 'results.csv'}; tables of README.md and docs/ written")


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=user_path, default=ROOT / "logs", help="where to look for run cards")
    write(parser.parse_args().logs.resolve())


if __name__ == "__main__":
    main()
