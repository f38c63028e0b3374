"""How signals end the process: at once while it starts, by an exception in a run, and always within a limit."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no other
ENDING = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
GRACE = 20.0  # seconds that a run has to end by itself; schedulers kill thirty after SIGTERM
TOGETHER = 1.0  # seconds in which several signals are one: a launcher hands on what all processes were sent

received: signal.Signals | None = None  # the first that `end_in_time` has seen
trains = False  # whether training has begun, so that there may be something to resume
_is_command = False  # whether this process is the command line's


def end_in_one_line() -> None:
    """From now on, end with one line and the signal's status; called before the imports, which take seconds."""
    global _is_command
    _is_command = True
    for number in ENDING:
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"stopped by {signal.Signals(number).name} before the run has begun\n".encode())
    os._exit(128 + number)


def end_by_exception() -> None:
    """From now on, let both signals raise exceptions, so that partial downloads and progress bars are cleaned up.

    Does nothing in a process that is not the command line's. Forked workers end at once, as they do by default.
    """
    if _is_command and signal.getsignal(signal.SIGTERM) in (_end, signal.SIG_DFL):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _raise)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=_by_default)


def _by_default() -> None:
    if signal.getsignal(signal.SIGTERM) is _raise:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    raise SIGTERMException


def leave_to_training() -> None:
    """Leave SIGTERM to Lightning's training, which ends after a step; it would call a handler of ours, too."""
    global trains
    trains = True
    _by_default()


def end_in_time(said: Callable[[], str], before: Callable[[], None]) -> None:
    """From now on, end the process by force when a signal does not: GRACE after the first, and at once at the second.

    Python runs its handlers between two steps of the interpreter, so not while a collective operation waits for another
    process. The system tells the number to a socket at once, which a thread looks at.

    Args:
        said: Says how to resume the run, for the line at the end.
        before: Function called before the process ends.
    """
    reading, writing = socket.socketpair()  # Windows takes no pipe here
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a worker's signals are its own
    threading.Thread(target=_watch, args=(reading, said, before), daemon=True).start()


def _watch(file: socket.socket, said: Callable[[], str], before: Callable[[], None]) -> None:
    global received
    received = number = _next(file, None)
    assert number is not None
    start = time.monotonic()
    while (left := start + GRACE - time.monotonic()) > 0 and not (
        _next(file, left) and time.monotonic() > start + TOGETHER
    ):
        pass
    before()
    os.write(2, f"stopped by {ENDING[number]}{said()}\n".encode())
    os._exit(128 + number)


def _next(file: socket.socket, seconds: float | None) -> signal.Signals | None:
    """Wait for a signal that is to end the process; None if there is none for so long."""
    if not select.select([file], [], [], seconds)[0]:
        return None
    number = file.recv(1)[0]
    return signal.Signals(number) if number in ENDING else _next(file, seconds)
