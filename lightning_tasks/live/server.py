"""The server of the live page: it sends the points of drawings as a network makes them.

A page opens a WebSocket at /draw and gets {"type": "hello", "words", "temperature", "speed"}. It asks as requests.py
says, one thing at a time: what it asked for before ends. For a request it gets
{"type": "frame", "id", "frame"} before each drawing of a morph,
{"type": "point", "id", "x", "y", "pen"} for each point, pen 1 if the next one begins a stroke, and then
{"type": "end", "id", "how"} or {"type": "error", "id", "message"}; the id is null if the request had none.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web

from lightning_tasks.drawings.page import PARTS
from lightning_tasks.drawings.steps import Drawing, Pen
from lightning_tasks.live.requests import SPEEDS, TEMPERATURES, Continue, Draw, Morph, Request, Stop, Strokes, parse
from lightning_tasks.sketch.sketcher import Sketcher

HERE = Path(__file__).parent
FILES = {"/": HERE / "page.html", "/live.js": HERE / "live.js"} | {
    f"/{name}": PARTS / name for name in ("page.css", "strokes.js")
}
# Nothing from elsewhere, and no other page may frame this one.
POLICY = ("default-src 'self'", "style-src 'self' 'unsafe-inline'", "img-src data:", "frame-ancestors 'none'")
SAFE = {"Content-Security-Policy": "; ".join(POLICY)}
MAX_FRAME = 4 * 1024 * 1024  # bytes of a message that is still answered by a sentence; beyond, the connection is closed
HEARTBEAT = 20.0  # seconds between looks at whether a page is still there

ACTIVE: web.AppKey[set[asyncio.Task]] = web.AppKey("active", set)  # what is being drawn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one server may take.

    Attributes:
        connections: Pages at a time.
        seconds: Duration of a request, from its first step to its last point.
    """

    connections: int = 32
    seconds: float = 120


def make_app(sketcher: Sketcher, host: str = "127.0.0.1", limits: Limits | None = None) -> web.Application:
    """Build the application.

    Args:
        sketcher: Draws.
        host: Name or address that it is served at.
        limits: Limits of the server.
    """
    app = web.Application()
    live = Live(sketcher, host, limits or Limits())
    app[ACTIVE] = live.active
    app.router.add_get("/draw", live.connect)
    for path in FILES:
        app.router.add_get(path, _send_file)
    app.on_shutdown.append(live.close)
    return app


async def _send_file(request: web.Request) -> web.FileResponse:
    return web.FileResponse(FILES[request.path], headers=SAFE | {"Cache-Control": "no-cache"})


class Live:
    """Draws for many pages with one network.

    Steps run one at a time in a thread of their own, so that the event loop never waits for the network, and a drawing
    has one step at most in the queue, so that all get their turns.

    Args:
        sketcher: Draws.
        host: Name or address of the server.
        limits: Limits of the server.

    Attributes:
        active: Requests being drawn.
    """

    def __init__(self, sketcher: Sketcher, host: str, limits: Limits) -> None:
        self.sketcher = sketcher
        self.host = host
        self.limits = limits
        self.active: set[asyncio.Task] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self._network = ThreadPoolExecutor(1, "network")

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """Serve a page until it is closed."""
        if len(self._sockets) >= self.limits.connections:
            raise web.HTTPServiceUnavailable(text=f"All {self.limits.connections} places are taken, try again later.")
        if not is_own_page(request.headers.get("Origin", ""), request.host, self.host):
            raise web.HTTPForbidden(text="Only the page of this server may draw; open it by its address.")
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME, heartbeat=HEARTBEAT, compress=False)
        self._sockets.add(socket)
        task: asyncio.Task | None = None
        try:
            await socket.prepare(request)
            known = {"words": self.sketcher.words, "temperature": TEMPERATURES, "speed": SPEEDS}
            await socket.send_json({"type": "hello"} | known)
            async for message in socket:
                await self._end(task)
                try:
                    if message.type != WSMsgType.TEXT:
                        raise ValueError("The message is no text.")
                    asked = parse(message.data, self.sketcher.words)
                except ValueError as error:
                    await socket.send_json({"type": "error", "id": None, "message": str(error)})
                    continue
                task = asyncio.create_task(self._answer(socket, asked))
                self.active.add(task)
                task.add_done_callback(self.active.discard)
        except ConnectionError:
            pass  # closed while something was sent
        finally:
            self._sockets.discard(socket)
            await self._end(task)
        return socket

    async def close(self, app: web.Application) -> None:
        """End all connections, so that the server can end."""
        del app
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"The server ends.")
        self._network.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    async def _end(task: asyncio.Task | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _answer(self, socket: web.WebSocketResponse, asked: Request) -> None:
        """Do what is asked, and say how it ended."""
        try:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    how = "stopped" if isinstance(asked, Stop) else await self._draw(socket, asked)
            except TimeoutError:
                how = f"cut after {self.limits.seconds:g} seconds"
            except ConnectionError:
                raise
            except Exception as error:
                log.exception("a drawing of %s failed", asked)
                message = f"The model failed: {error or type(error).__name__}"
                await socket.send_json({"type": "error", "id": asked.id, "message": message})
                return
            await socket.send_json({"type": "end", "id": asked.id, "how": how})
        except ConnectionError:
            pass  # the page is gone

    async def _draw(self, socket: web.WebSocketResponse, asked: Draw) -> str:
        """Send one drawing, or those of a morph, and say how the last one ended."""
        draw = self.sketcher.draw
        if not isinstance(asked, Morph):
            start = _drawing(asked.strokes) if isinstance(asked, Continue) else []
            return await self._send(socket, asked, draw(asked.word, asked.temperature, start=start, seed=asked.seed))
        encode = self.sketcher.encode
        first = await self._in_turn(encode, asked.word, _drawing(asked.first))
        second = await self._in_turn(encode, asked.word, _drawing(asked.second))
        seed = asked.seed or 0  # the same for all, so that only the latent vector changes
        how = ""
        for frame in range(asked.frames):
            latent = self.sketcher.between(first, second, frame / (asked.frames - 1))
            await socket.send_json({"type": "frame", "id": asked.id, "frame": frame})
            points = draw(asked.word, asked.temperature, latent=latent, seed=seed)
            how = await self._send(socket, asked, points)
        return how

    async def _send(
        self, socket: web.WebSocketResponse, asked: Draw, points: Iterator[tuple[float, float, int]]
    ) -> str:
        """Send the points of a drawing, no faster than is asked; say how it ended."""
        now = asyncio.get_running_loop().time
        due = now()
        for _ in range(self.sketcher.max_length + 2):  # where the pen starts, the steps, END
            point = await self._in_turn(next, points, None)
            if point is None:
                break
            x, y, pen = point
            if pen == Pen.END:
                return "finished"
            if not (isfinite(x) and isfinite(y)):
                raise FloatingPointError("it gave a point that is no number")
            place = {"x": round(float(x), 1), "y": round(float(y), 1), "pen": int(pen)}
            await socket.send_json({"type": "point", "id": asked.id} | place)
            due = max(due + 1 / asked.speed, now())
            await asyncio.sleep(due - now())
        return f"cut at the most points, {self.sketcher.max_length}"

    async def _in_turn(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._network, function, *arguments)


def _drawing(strokes: Strokes) -> Drawing:
    return [np.array(stroke, dtype=np.float32) for stroke in strokes]


def is_own_page(origin: str, host: str, served_at: str) -> bool:
    """Say whether a page is the server's own.

    Browsers let any page open a WebSocket to any server, and tell where the page comes from. A foreign name may have
    been made to point here, so only names that are known to be the server's count; addresses cannot be so misused.

    Args:
        origin: Header of the request, as "http://localhost:8000".
        host: Header of the request, as "localhost:8000".
        served_at: Name or address of the server.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if urlsplit(origin).netloc != host:
            return False
        if name not in ("localhost", served_at.lower()):
            ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
