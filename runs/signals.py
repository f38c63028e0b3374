"""Signals that end the process before a run has begun; afterwards they are Lightning's."""

import os
import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


def end_in_one_line() -> None:
    """From now on, end with one line and the signal's status; called before the imports, which take seconds."""
    for number in ENDING:
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"stopped by {signal.Signals(number).name} before the run has begun\n".encode())
    os._exit(128 + number)


def leave_to_the_run() -> None:
    """Take that back: Ctrl-C is an exception again, and SIGTERM what Lightning makes of it in a fit."""
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
