"""Which files have been found to be the official ones, remembered until they change."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from lightning_tasks.runs.atomic_writes import write_atomic

MEMORY = ".verified.json"


def require_official(root: Path, checksums: Mapping[Path, str]) -> None:
    """Refuse files that are not the official ones.

    What has been verified is remembered in `.verified.json` of the root, by its `state`, so that a gigabyte is not read
    twice; where nothing can be written, it is verified each time.

    Args:
        root: Folder of the data sets.
        checksums: MD5 of each file, in hexadecimal digits.

    Raises:
        ValueError: If the content of a file is another; names it.
    """
    known = _read(root / MEMORY)
    found = {str(path.relative_to(root)): _verified(path, md5, known, root) for path, md5 in checksums.items()}
    if any(known.get(name) != entry for name, entry in found.items()):
        with contextlib.suppress(OSError):  # a folder that is read-only
            write_atomic(root / MEMORY, json.dumps(known | found, indent=1))


def state(stat: os.stat_result) -> list[int]:
    """Give numbers that differ when a file is another one, or was changed: size, times of change and inode.

    Programs set the time of the last change of a file's content at will, as those that copy or unpack; `ctime`, of any
    change, they cannot. A file that is moved keeps both times, and its inode.
    """
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _verified(path: Path, md5: str, known: Mapping[str, list], root: Path) -> list:
    entry = [*state(path.stat()), md5]
    if known.get(str(path.relative_to(root))) != entry:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != md5:
                raise ValueError(
                    f"{path} is not the official file (its MD5 is not {md5}); remove it to have it fetched"
                )
    return entry


def _read(path: Path) -> dict[str, list]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
