"""Paths as users write them."""

import os
from pathlib import Path


def user_path(path: str | Path) -> Path:
    """Give a path in which `~` is the home folder: no shell replaces it in `--option=~/x`, and nothing does in YAML."""
    return Path(os.path.expanduser(path))
