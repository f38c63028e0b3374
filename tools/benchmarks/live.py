"""The live page's server with three clients, against its targets."""

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp.test_utils import TestClient, TestServer

from lightning_tasks.drawings.steps import Drawing
from lightning_tasks.live.server import make_app
from tools.benchmarks.measure import REPEATS, Comparison, compare

CLIENTS = 3
STEP_SECONDS = 0.002  # of the dummy model
POINTS_A_SECOND = 60.0  # asked for
FIRST_POINT_MS = 300.0  # asked for, after the click
CHECKPOINTS = Path("logs/quickdraw_mixture")


class StandIn:
    """Takes as long for a step as a network may."""

    words: tuple[str, ...] = ("line",)
    max_length = 300

    def draw(
        self,
        word: str,
        temperature: float,
        start: Drawing = [],
        latent: np.ndarray | None = None,
        seed: int | None = None,
    ) -> Iterator[tuple[float, float, int]]:
        """Draw a line without an end."""
        for step in count():
            time.sleep(STEP_SECONDS)
            yield float(step), 0.0, 0

    def encode(self, word: str, drawing: Drawing) -> np.ndarray:
        """Give nothing."""
        return np.zeros(1)

    def between(self, first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
        """Give nothing."""
        return first


def run(root: str) -> list[Comparison]:
    """Measure the server with a dummy model of 2 ms a step and, where one has been trained, with a network."""
    del root
    rows = measure("2 ms dummy model", StandIn())
    if CHECKPOINTS.is_dir():
        from lightning_tasks.sketch.sketcher import Sketcher

        rows += measure("trained network", Sketcher.from_checkpoint(str(CHECKPOINTS)))
    return rows


def measure(name: str, sketcher: Any) -> list[Comparison]:
    """Let three pages draw at once, and take the slowest of them."""
    times = [asyncio.run(_draw_at_once(sketcher)) for _ in range(REPEATS + 1)]
    firsts = [max(first for first, _ in those) * 1000 for those in times]
    rates = [min(rate for _, rate in those) for those in times]
    asked = [FIRST_POINT_MS] * len(times), [POINTS_A_SECOND] * len(times)
    what = f"live, {name}, slowest of {CLIENTS} clients"
    return [
        compare(f"{what}: latency to first point", "fixed limit", "ms", firsts, asked[0], bar=1),
        compare(f"{what}: points", "fixed limit", "points/s", rates, asked[1], bar=1, more_is_better=True),
    ]


async def _draw_at_once(sketcher: Any) -> list[tuple[float, float]]:
    async with TestClient(TestServer(make_app(sketcher))) as client:
        return await asyncio.gather(*(_draw(client, sketcher.words[0]) for _ in range(CLIENTS)))


async def _draw(client: TestClient, word: str) -> tuple[float, float]:
    """Ask for drawings for two seconds; seconds to the first point, and points a second from there."""
    async with client.ws_connect("/draw", origin=str(client.make_url("/")).rstrip("/")) as socket:
        await socket.receive_json()
        request = {"type": "draw", "id": 1, "word": word, "temperature": 0.4, "speed": 500}
        clicked = time.perf_counter()
        await socket.send_json(request)
        first, points = 0.0, 0
        while (now := time.perf_counter()) - clicked < 2:
            message = await socket.receive_json()
            if message["type"] == "end":
                await socket.send_json(request)
            elif points == 0:
                first, points = time.perf_counter(), 1
            else:
                points += 1
        return first - clicked, (points - 1) / (now - first)
