"""Run cards as files."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_tasks.runs.folders import CARD


def load_card(path: Path) -> dict[str, Any] | None:
    """Read a run card.

    Returns:
        What it says; None if there is none. One that is damaged is named on stderr, and counts as none.
    """
    try:
        card = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        card, said = None, str(error)
    else:
        said = f"{type(card).__name__} in place of names and values"
    if not isinstance(card, dict):
        print(f"skipped: {path} is no run card ({said})", file=sys.stderr)
        return None
    return card


def finished_runs(runs: Iterable[Path]) -> list[Path]:
    """Give the runs that have a card, in the same order; those of a part of the data only if there is no whole one."""
    cards = {run: load_card(run / CARD) for run in runs}
    finished = [run for run, card in cards.items() if card is not None]
    return [run for run in finished if not (cards[run] or {}).get("partial")] or finished
