"""Paths as users write them."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
CONFIGS = next(each for each in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if each.is_dir())


def user_path(path: str | Path) -> Path:
    """Give a path in which `~` is the home folder: no shell replaces it in `--option=~/x`, and nothing does in YAML."""
    return Path(os.path.expanduser(path))


def shown(path: str | Path) -> str:
    """Write a path from the current folder if it lies below, else in full."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)


def config_path(path: str | Path) -> Path:
    """Give the path of a config: a file, or else an installed one, as `configs/dfad_digits.yaml` in any folder."""
    path = user_path(path)
    installed = CONFIGS.joinpath(*path.parts[1:])
    return installed if path.parts[:1] == ("configs",) and not path.exists() and installed.is_file() else path
