"""Runs side by side: the options in which they differ, and what came of them."""

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from jsonargparse import ArgumentParser
from rich.table import Column, Table

from lightning_tasks.compare.cards import Card, read, without_paths
from lightning_tasks.runs.folders import CARD
from lightning_tasks.runs.identity import differences
from lightning_tasks.runs.names import DOTTED
from lightning_tasks.runs.remedies import how_to_make

SHOWN = (
    "seed",
    "epochs",
    "seconds",
    "peak_memory_mb",
    "parameters_trained",
    "device",
    "precision",
    "teacher_ckpt",
    "commit",
)


def find_cards(places: Iterable[Path], parser: ArgumentParser) -> dict[str, Card]:
    """Read the cards that are meant, by the name of their run.

    Args:
        places: Run cards, folders of runs, or folders of experiments for all their finished runs.
        parser: Parser of the command line.

    Raises:
        ValueError: If a place has none.
    """
    found: dict[str, Card] = {}
    for place in places:
        paths = [place] if place.is_file() else sorted(place.rglob(CARD))
        cards = {path: card for path in paths if (card := read(path, parser))}
        if not cards:
            raise ValueError(f"compare: no finished run at {place}: it has no {CARD}{how_to_make(place)}")
        found |= {str(path.parent if path.name == CARD else path): card for path, card in cards.items()}
    return found


def comparison(cards: Mapping[str, Card]) -> Table:
    """Build a table with a column for each run: all metrics, then cost, facts and options that differ.

    Of a class that only some runs have in a place, only the options in which those runs differ are shown.

    Args:
        cards: By the name of the run.
    """
    heads = (Column(name, overflow="fold") for name in short_names(cards))
    table = Table(Column(overflow="fold"), *heads, title="metrics, and what differs")
    for name, values in metric_rows(cards).items():
        table.add_row(name, *map(number, values))
    table.add_section()
    for name in SHOWN:
        said = [fact(card, name) for card in cards.values()]
        if len(set(said)) > 1:
            table.add_row(name, *said)
    table.add_section()
    for option, said in option_rows(cards).items():
        table.add_row(option, *said)
    return table


def metric_rows(cards: Mapping[str, Card]) -> dict[str, list[float | None]]:
    """Give the values of each metric in the order of the cards, None where a card has none; those of the test first."""
    names = sorted(
        {name for card in cards.values() for name in card["metrics"]},
        key=lambda name: (not name.startswith("test/"), name),
    )
    return {name: [card["metrics"].get(name) for card in cards.values()] for name in names}


def number(metric: float | None) -> str:
    """Write the value of a metric; a dash for None."""
    return "-" if metric is None else f"{metric:.4g}"


def option_rows(cards: Mapping[str, Card]) -> dict[str, list[str]]:
    """Give what each card says of the options in which any two of them differ, as `comparison` shows it."""
    options: set[str] = set()
    for pair in itertools.combinations(cards.values(), 2):
        differing = differences(*(card.get("configuration", {}) for card in pair))
        options |= {
            option
            for option in differing
            if not any(option.startswith((f"{other}.", f"{other}[")) for other in differing)
        }
    return {
        option: [_said(value(card, option)) for card in cards.values()]
        for option in sorted(options)
        if not option.endswith(".__path__")  # where the parser read it from
    }


def fact(card: Card, name: str) -> str:
    """Write an entry of a card, a dash if it has none; a checkpoint without the logs' folder, a commit in short."""
    return str(without_paths(card).get(name, "-"))[: 9 if name == "commit" else None]


def short_names(names: Iterable[str]) -> list[str]:
    """Name runs without the folder that all of them are in."""
    paths = [Path(name).absolute() for name in names]
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return [str(path.relative_to(common)) for path in paths]


def _said(option: object) -> str:
    """Write the value of an option; of a class its name alone."""
    text = "-" if option is None else str(option)
    return text.rpartition(".")[2] if re.fullmatch(DOTTED, text) else text


def value(card: Card, option: str) -> object:
    """Look up an option of a card's configuration, named as the command line does; None where it has none.

    Of a list of classes it gives their names, as another card may have an empty list there.
    """
    options = {name: there for name, (there, _) in differences(card.get("configuration", {}), {}).items()}
    listed = [_said(options[name]) for name in options if re.fullmatch(rf"{re.escape(option)}\[\d+\]", name)]
    return f"[{', '.join(listed)}]" if listed else options.get(option)
