"""Files that are written whole or not at all, and errors that say how much room one needs."""

import contextlib
import csv
import errno
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Counted:
    """A file that goes on counting after its first error, so that the error can say what would have been needed."""

    def __init__(self, file: IO[bytes] | Any) -> None:
        self.file = file
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: "Buffer") -> int:
        """Write all of it, unless there was an error."""
        left = memoryview(data).cast("B")
        self.size += len(left)
        while left and self.error is None:
            try:
                left = left[self.file.write(left) :]
            except OSError as error:
                self.error = error
        return len(memoryview(data).cast("B"))

    def flush(self) -> None:
        """Nothing waits."""


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[_Counted]:
    """Write a file beside its final place and rename it at the end, so that a kill or an error leaves the former one.

    Args:
        path: Where it goes; folders above are made.

    Yields:
        What takes bytes.

    Raises:
        OSError: If it cannot be written; names it, and says how much room it needs if that is what lacks.
    """
    partial = path.with_name(f"{path.name}.partial")
    size = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb", buffering=0) as file:
            counted = _Counted(file)
            yield counted
            size = counted.size
            if counted.error is not None:
                raise counted.error
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)  # first, since it takes room
        raise OSError(f"{path}: {reason(error, size, path.parent)}") from error
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Write a text, see `whole_file`; bytes of a file's name that are no UTF-8 stay as they are."""
    with whole_file(path) as file:
        file.write(text.encode(errors="surrogateescape"))


def write_table(path: Path, rows: Iterable[Iterable[Any]], line_end: str = "\n") -> None:
    """Write rows as CSV, see `whole_file`."""
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
