"""Run cards as they read today: what must be in them, and the hash of their configuration."""

import functools
import json
import re
import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from lightning_tasks.runs.cards import load_card
from lightning_tasks.runs.folders import require_experiment
from lightning_tasks.runs.identity import config_hash, read_card

NEEDED: dict[str, Any] = {
    "experiment": str,
    "seed": int,
    "date": str,
    "device": str,
    "commit": str,
    "config_hash": str,
    "command": str,
    "seconds": (int, float),
    "configuration": dict,
    "metrics": dict,
    "parameters": dict,
}
Card = dict[str, Any]


def read(path: Path, parser: ArgumentParser) -> Card | None:
    """Read a card, with the hash that its configuration has today; None, and a line, if it is no card.

    An option that is newer than the card has its default; a card with an option that is no more keeps its old hash.
    """
    card = load_card(path)
    if card is None:
        return None
    try:
        require_experiment(str(card.get("experiment", "")))
    except ValueError as error:
        print(f"skipped: {path}: {error}", file=sys.stderr)
        return None
    if lacking := [name for name, kind in NEEDED.items() if not isinstance(card.get(name), kind)]:
        print(f"skipped: {path} is no run card: it has no {', '.join(lacking)}", file=sys.stderr)
        return None
    return card | {"config_hash": _hash_today(json.dumps(card["configuration"]), parser) or card["config_hash"]}


@functools.cache  # seeds share a configuration, and parsing one takes a fifth of a second
def _hash_today(configuration: str, parser: ArgumentParser) -> str | None:
    try:
        return config_hash(read_card(parser, {"configuration": json.loads(configuration)}))
    except ValueError:
        return None


def without_paths(card: Card) -> Card:
    """Leave out where things lay on the machine: the folder of the logs, and all of a checkpoint's but its run.

    Args:
        card: A run card.
    """
    command = re.sub(r" --trainer\.default_root_dir[= ]\S+", "", card["command"])
    shortened = {name: card[name] for name in ("teacher_ckpt", "recogniser_ckpt") if card.get(name)}
    for name, value in shortened.items():
        parts = Path(value).parts
        shortened[name] = "/".join(parts[-4:] if "checkpoints" in parts else parts[-2:])
    return card | shortened | {"command": command}
