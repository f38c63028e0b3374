"""A run of a sweep, which ends as by SIGTERM when the process that started it does, however that ends.

It is started with a pipe as its standard input, which the system closes with the process at the other end. Its first
argument is the lock that it holds until its own end.
"""

import os
import signal
import sys
import threading

from filelock import FileLock

from lightning_tasks.cli import command


def _end_with_the_starter() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    lock = FileLock(sys.argv.pop(1))
    lock.acquire()
    command()
