"""Run cards: from the logs into `results/runs`, and which of them count together."""

import functools
import json
import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from lightning_tasks.compare.cards import Card, read, without_paths
from lightning_tasks.runs.atomic_writes import write_atomic, write_table
from lightning_tasks.runs.folders import CARD
from lightning_tasks.runs.identity import config_hash, option_args, read_command

COLUMNS = (
    "experiment",
    "seed",
    "seconds",
    "epochs",
    "peak_memory_mb",
    "device",
    "precision",
    "student_share",
    "teacher_sha256",
    "recogniser_sha256",
    "min_class_entropy",
    "collapsed_epochs",
    "commit",
    "date",
    "config_hash",
    "command",
)


def key(card: Card) -> tuple[Any, ...]:
    """Say what a card is of: two of one key are the same run, done twice."""
    return *group_key(card), card["seed"]


def group_key(card: Card) -> tuple[Any, ...]:
    """Say what seeds are counted together: also those of a whole chain, each with a teacher of its own."""
    return card["experiment"], card["config_hash"], card["device"]


def used(card: Card) -> list[str]:
    """Give the hashes of the trained networks that a run made use of: a teacher, or what judged its sketches."""
    return [card[name] for name in ("teacher_sha256", "recogniser_sha256") if name in card]


def read_all(runs: Path, parser: ArgumentParser) -> list[Card]:
    """Read all cards of a folder, by experiment, configuration, device, teacher and seed."""
    return sorted(filter(None, (read(path, parser) for path in runs.rglob("*.json"))), key=key)


def collect(logs: Path, runs: Path, parser: ArgumentParser) -> None:
    """Copy the cards of whole runs of committed code; the newest of those with one key replaces the others."""
    known = {key(card): (path, card) for path in runs.rglob("*.json") if (card := read(path, parser))}
    for path in sorted(logs.rglob(CARD)):
        card = read(path, parser)
        if card is None:
            continue
        if "partial" in card:
            print(f"left out, since it is of a part of the data: {path} ({card['partial']})")
            continue
        if re.fullmatch("[0-9a-f]{40}", card["commit"]) is None:
            print(f"left out, since it is not the work of one commit: {path} ({card['commit']})")
            continue
        former, its_card = known.get(key(card), (None, None))
        if its_card is not None and its_card["date"] >= card["date"]:
            continue
        if former is not None:
            former.unlink()
        device = re.sub(r"[^\w]+", "-", card["device"])
        others = "".join(f"-{sha[:8]}" for sha in used(card))
        name = f"{card['experiment']}-{card['config_hash']}-{card['seed']}-{device}{others}.json"
        target = runs / name
        write_atomic(target, json.dumps(without_paths(card), indent=2) + "\n")
        known[key(card)] = target, card


def is_current(card: Card, parser: ArgumentParser) -> bool:
    """Say whether the card's command, with the config files as they are now, would still be the run of the card."""
    words = option_args(shlex.split(card["command"])[2:])
    seedless = tuple(word for word in words if not word.startswith("--seed_everything="))
    return _hash_of_command(seedless, parser) == card["config_hash"]


@functools.cache  # seeds share a command, and parsing one takes a fifth of a second
def _hash_of_command(words: tuple[str, ...], parser: ArgumentParser) -> str | None:
    try:
        return config_hash(read_command(parser, list(words)))
    except ValueError:
        return None


def by_group(cards: list[Card]) -> list[list[Card]]:
    """Put the seeds of one configuration, device and teacher together."""
    groups: dict[tuple[Any, ...], list[Card]] = defaultdict(list)
    for card in cards:
        groups[group_key(card)].append(card)
    return list(groups.values())


def write_csv(cards: list[Card], path: Path) -> None:
    """Write one row a run: the columns above, then every metric and every parameter count that any run has."""
    metrics = sorted({name for card in cards for name in card["metrics"]})
    networks = sorted({name for card in cards for name in card["parameters"]})
    rows: list[list[Any]] = [[*COLUMNS, *metrics, *(f"parameters_{name}" for name in networks)]]
    for card in cards:
        rows.append(
            [
                *(card.get(name, "") for name in COLUMNS),
                *(f"{card['metrics'][name]:.4f}" if name in card["metrics"] else "" for name in metrics),
                *(card["parameters"].get(name, "") for name in networks),
            ]
        )
    write_table(path, rows)
