"""Signals that end the process before a run has begun; afterwards they are Lightning's, within a limit."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no other
ENDING = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
GRACE = 20.0  # seconds that a run has to end by itself; schedulers kill thirty after SIGTERM
TOGETHER = 1.0  # seconds in which several signals are one: a launcher hands on what all processes were sent

received: signal.Signals | None = None  # the first that `end_in_time` has seen


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


def end_in_time(said: str, before: Callable[[], None]) -> None:
    """From now on, end the process by force when a signal does not: GRACE after the first, and at once at the second.

    Python runs its handlers between two steps of the interpreter, so not while a collective operation waits for another
    process. The system tells the number to a socket at once, which a thread looks at.

    Args:
        said: How to resume the run, for the line at the end.
        before: Function called before the process ends.
    """
    reading, writing = socket.socketpair()  # Windows takes no pipe here
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a worker's signals are its own
    threading.Thread(target=_watch, args=(reading, said, before), daemon=True).start()


def _watch(file: socket.socket, said: str, before: Callable[[], None]) -> None:
    global received
    received = number = _next(file, None)
    assert number is not None
    start = time.monotonic()
    while (left := start + GRACE - time.monotonic()) > 0 and not (
        _next(file, left) and time.monotonic() > start + TOGETHER
    ):
        pass
    before()
    os.write(2, f"stopped by {ENDING[number]}{said}\n".encode())
    os._exit(128 + number)


def _next(file: socket.socket, seconds: float | None) -> signal.Signals | None:
    """Wait for a signal that is to end the process; None if there is none for so long."""
    if not select.select([file], [], [], seconds)[0]:
        return None
    number = file.recv(1)[0]
    return signal.Signals(number) if number in ENDING else _next(file, seconds)
