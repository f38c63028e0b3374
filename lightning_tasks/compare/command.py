"""Show runs side by side: all metrics, what they cost, and the options in which they differ."""

import argparse

from rich.console import Console

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.compare.table import comparison, find_cards
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.program import PROGRAM


def main(args: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} compare", description=__doc__)
    parser.add_argument(
        "runs",
        type=user_path,
        nargs="+",
        metavar="RUN",
        help="a run's folder, an experiment's for all its runs, or a card",
    )
    options = parser.parse_args(args)
    Console().print(comparison(find_cards(options.runs, task_parser())))
