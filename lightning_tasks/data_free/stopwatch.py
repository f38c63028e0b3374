"""How much of an epoch each part of a training step takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the time of named parts; on a GPU that of its work, not that of launching it.

    Args:
        device: On which the parts run.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._start = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        self._seconds.setdefault(name, 0.0)
        if self._cuda:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._events.append((name, first, last))
        else:
            start = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - start

    def shares(self) -> dict[str, float]:
        """Give the time of each part as a share of all time since the stopwatch was made."""
        if self._events:
            torch.cuda.synchronize()
        for name, first, last in self._events:
            self._seconds[name] += first.elapsed_time(last) / 1e3
        self._events.clear()
        whole = time.perf_counter() - self._start
        return {name: seconds / whole for name, seconds in self._seconds.items()}
