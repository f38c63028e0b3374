"""A run of a sweep, which ends as by SIGTERM when the process that started it does, however that ends.

It is started with a pipe as its standard input, which the system closes with the process at the other end.
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path

CLI = Path(__file__).parent.parent / "cli.py"


def _end_with_the_starter() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    sys.path[0] = str(CLI.parent)  # as if that were the script
    runpy.run_path(str(CLI), run_name="__main__")
