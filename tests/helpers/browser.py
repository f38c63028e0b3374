"""Headless Chromium through its DevTools protocol: https://chromedevtools.github.io/devtools-protocol/."""

import asyncio
import base64
import json
import shutil
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from itertools import count

import aiohttp
import pytest


@contextmanager
def chromium(folder):
    """Start a browser with its profile in a folder; gives its port. Skips the test where there is none."""
    command = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if command is None:
        pytest.skip("no Chromium here")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    process = subprocess.Popen([command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = folder / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert process.poll() is None, "Chromium ended"
            assert time.monotonic() < end, "Chromium does not start"
            time.sleep(0.05)
        yield int(port_file.read_text().splitlines()[0])
    finally:
        process.terminate()
        process.wait(20)


class Tab:
    """A page in the browser."""

    def __init__(self, socket):
        self.socket = socket
        self.numbers = count()
        self.errors = []

    async def send(self, method, **parameters):
        """Call a method of the protocol; gives its result."""
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self.socket.receive_json(timeout=30)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message):
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(message["params"]["exceptionDetails"]["exception"].get("description"))
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.errors.append(message["params"]["entry"]["text"])

    async def js(self, expression):
        """Value of an expression on the page."""
        options = {"returnByValue": True, "awaitPromise": True}
        result = await self.send("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, expression, seconds=20):
        """Wait until an expression is true on the page."""
        end = time.monotonic() + seconds
        while not await self.js(expression):
            assert time.monotonic() < end, (expression, await self.js("document.body.innerText"))
            await asyncio.sleep(0.02)

    async def mouse(self, places):
        """Press the left button at the first place, move, and let go at the last one."""
        for number, (x, y) in enumerate(places):
            await self._mouse("mouseMoved" if number else "mousePressed", x, y)
        await self._mouse("mouseReleased", *places[-1])

    async def _mouse(self, kind, x, y):
        await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    async def touch(self, places):
        """Draw with a finger."""
        for number, (x, y) in enumerate(places):
            kind = "touchMove" if number else "touchStart"
            await self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        await self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def key(self, letter):
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=letter, text=letter if kind == "keyDown" else "")

    async def look(self, width, height, dark=False):
        """Give the window a size, and a scheme of colours."""
        options = {"deviceScaleFactor": 1, "mobile": width < 600}
        await self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, **options)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path, whole=False):
        """Write a PNG of what is in view, or of the whole page."""
        result = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(result["data"]))


@asynccontextmanager
async def tab(port, address):
    """Open an address in a tab of its own."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.put("/json/new?about:blank") as answer:
            target = json.loads(await answer.text())
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Tab(socket)
            for domain in ("Page", "Runtime", "Log"):
                await page.send(f"{domain}.enable")
            await page.look(1200, 800)
            await page.send("Page.navigate", url=str(address))
            await page.until("document.readyState === 'complete' && location.href !== 'about:blank'")
            yield page
        await session.get(f"/json/close/{target['id']}")
