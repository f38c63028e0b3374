"""What lies below a folder: the image files that are read, and a count of what is not."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from datamodules.decoding import EXTENSIONS

MOST = 3  # kinds of files, and folders of each, that are named


def is_hidden(name: str) -> bool:
    """Say whether a program has made it for itself, as `.ipynb_checkpoints`, and `._a.png` and `__MACOSX` of a Mac."""
    return name.startswith(".") or name == "__MACOSX"


def is_image(file: Path) -> bool:
    """Say whether a name ends as those of images that are read."""
    return file.suffix.lower() in EXTENSIONS


def visible_folders(folder: Path) -> list[Path]:
    """List the folders in a folder that are not hidden, by name; none if it is no folder."""
    return (
        sorted(each for each in folder.iterdir() if each.is_dir() and not is_hidden(each.name))
        if folder.is_dir()
        else []
    )


def visible_files(folder: Path) -> Iterator[Path]:
    """List the files below a folder, at any depth and behind links, but nothing hidden.

    Raises:
        OSError: If a folder cannot be read.
    """
    seen = set()
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads in a circle
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield from (Path(place, name) for name in names if not is_hidden(name))


def _raise(error: OSError) -> None:
    raise error


def count_kinds(files: Iterable[Path], where: bool = False) -> str:
    """Count files by the end of their names, as "40 .png, 2 .txt".

    Args:
        files: The files.
        where: Name the folders of each kind too.
    """
    folders: dict[str, list[Path]] = {}
    for file in files:
        folders.setdefault(file.suffix.lower() or "without suffix", []).append(file.parent)
    kinds = sorted(folders, key=lambda kind: (-len(folders[kind]), kind))
    said = [f"{len(folders[kind]):,} {kind}{_in(folders[kind]) if where else ''}" for kind in kinds[:MOST]]
    rest = sum(len(folders[kind]) for kind in kinds[MOST:])
    return ", ".join([*said, f"{rest:,} of other kinds"] if rest else said)


def _in(folders: list[Path]) -> str:
    names = [str(each) for each in dict.fromkeys(folders)]
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f" in {' and '.join(sorted(names)[:MOST])}{more}"
