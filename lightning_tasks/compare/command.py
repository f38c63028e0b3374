"""Show runs side by side: all metrics, what they cost, and the options in which they differ."""

import argparse

from rich.console import Console

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.compare.page import make_page
from lightning_tasks.compare.table import comparison, find_cards
from lightning_tasks.runs.atomic_writes import write_atomic
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.program import PROGRAM


def main(args: list[str]) -> None:
    """Print the table, and write the page if asked to."""
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} compare", description=__doc__)
    parser.add_argument(
        "runs",
        type=user_path,
        nargs="+",
        metavar="RUN",
        help="a run's folder, an experiment's for all its runs, or a card",
    )
    parser.add_argument(
        "--html",
        type=user_path,
        metavar="PAGE",
        help="write a page, too: metrics, options, curves, plots and commands in one .html file",
    )
    options = parser.parse_args(args)
    if options.html and options.html.suffix != ".html":  # so that no card or checkpoint is overwritten
        raise ValueError(f"compare: --html {options.html}: the name of a page ends in .html")
    cards = find_cards(options.runs, task_parser())
    Console().print(comparison(cards))
    if options.html:
        write_atomic(options.html, make_page(cards))
        print(f"page: {options.html}")
