"""Run cards as files."""

import json
import sys
from pathlib import Path
from typing import Any


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
