"""Files that are written whole or not at all, and errors that say how much room one needs."""

import csv
import errno
import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file beside its final place and rename it at the end, so that a kill or an error leaves the former one.

    Args:
        path: Path of the file; its parent folders are made.
        content: A text, in which bytes of a file's name that are no UTF-8 stay as they are, or bytes.

    Raises:
        OSError: If it cannot be written; names it, and says how much room it needs if that is what lacks.
    """
    data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)  # first, since it takes room
        raise OSError(f"{path}: {reason(error, len(data), path.parent)}") from error
    finally:
        partial.unlink(missing_ok=True)


def write_table(path: Path, rows: Iterable[Iterable[Any]], line_end: str = "\n") -> None:
    """Write rows as CSV, see `write_atomic`."""
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end).writerows(rows)
    write_atomic(path, text.getvalue())


def reason(error: OSError, size: int | None, folder: Path) -> str:
    """Say why a file of so many bytes, if that is known, could not be written to a folder."""
    if error.errno not in NO_ROOM:
        return error.strerror or str(error)
    need = "no room" if size is None else f"no room for {megabytes(size)}"
    if error.errno == errno.EFBIG or not folder.exists():  # a limit of the process, not the disk
        return f"{need} ({error.strerror})"
    return f"{need}, {megabytes(shutil.disk_usage(folder).free)} are free"


def megabytes(size: int) -> str:
    """Write a number of bytes."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
