"""A live page's server in process, and what it sends."""

import asyncio
import time
from contextlib import asynccontextmanager

from aiohttp.test_utils import TestClient, TestServer

from helpers.spiral import Spiral
from lightning_tasks.live.server import make_app

DRAW = {"type": "draw", "id": 1, "word": "cat", "temperature": 0.4, "speed": 500}


@asynccontextmanager
async def serving(sketcher=None, limits=None):
    async with TestClient(TestServer(make_app(sketcher or Spiral(0), limits=limits))) as client:
        yield client


def opened(client, **options):
    return client.ws_connect("/draw", origin=str(client.make_url("/")).rstrip("/"), **options)


async def answers(socket):
    """All messages up to an end or an error."""
    messages = []
    while not messages or messages[-1]["type"] not in ("end", "error"):
        messages.append(await socket.receive_json(timeout=10))
    return messages


def points(messages):
    return [(each["x"], each["y"], each["pen"]) for each in messages if each["type"] == "point"]


async def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def ask(request, sketcher=None, limits=None):
    """What one request is answered."""

    async def scenario():
        async with serving(sketcher, limits) as client, opened(client) as socket:
            assert (await socket.receive_json())["type"] == "hello"
            await (socket.send_json(request) if isinstance(request, dict) else socket.send_str(request))
            return await answers(socket)

    return asyncio.run(scenario())
