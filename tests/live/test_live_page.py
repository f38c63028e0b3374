"""The live page and the replay page in headless Chromium; skipped where there is none."""

import asyncio
import json
from contextlib import asynccontextmanager
from xml.etree import ElementTree

import numpy as np
import pytest
from aiohttp.test_utils import TestServer
from helpers.browser import chromium, tab
from helpers.spiral import Spiral

from lightning_tasks.drawings.page import Sketch, write_page
from lightning_tasks.live.server import ACTIVE, Limits, make_app

INK = """(() => {
  const canvas = document.querySelector("%s");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let at = 3; at < data.length; at += 4) count += data[at] > 0;
  return count;
})()"""
# Counts the points that lie beyond the sheet's border whenever it is painted.
WATCH_BORDER = """window.outside = 0; window.paints = 0;
const paint = sheet.paint.bind(sheet);
sheet.paint = () => {
  paint();
  window.paints++;
  const { scale, x, y } = sheet.scale();
  const { clientWidth: width, clientHeight: height } = sheet.canvas;
  for (const [right, down] of sheet.strokes.flatMap(({ points }) => points)) {
    const [column, row] = [x + scale * right, y + scale * down];
    if (!(column >= 0 && row >= 0 && column <= width && row <= height)) window.outside++;
  }
}"""
IDLE = "byId('stop').disabled && !byId('draw').disabled"
STATUS = "byId('status').textContent"
HAND = [(200, 300), (260, 240), (330, 300), (330, 420), (200, 420)]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as port:
        yield port


@asynccontextmanager
async def live_page(port, sketcher, limits=None):
    """A server, and its page in a tab."""
    async with TestServer(make_app(sketcher, limits=limits)) as server, tab(port, server.make_url("/")) as page:
        await page.until(IDLE)
        yield page, server.app
        assert page.errors == []


async def set_speed(page, points_a_second):
    await page.js(f"byId('speed').value = {points_a_second}")


def click(name):
    return f"byId('{name}').click()"


async def freed(app):
    for _ in range(100):
        if not app[ACTIVE]:
            return True
        await asyncio.sleep(0.01)
    return False


class TestDrawing:
    def test_strokes_appear_while_the_model_draws(self, port):
        async def scenario():
            sketcher = Spiral(0.002, points=150)
            async with live_page(port, sketcher) as (page, _):
                assert await page.js("[...byId('word').options].map((each) => each.value)") == list(sketcher.words)
                assert await page.js(INK % "#sheet") == 0
                await set_speed(page, 100)
                await page.js("byId('word').value = 'fish'")
                await page.js(click("draw"))
                seen = []
                while sketcher.steps < 120:
                    seen.append(await page.js(INK % "#sheet"))
                    await asyncio.sleep(0.1)
                assert not await page.js(IDLE)
                assert seen[-1] > seen[len(seen) // 2] > 0
                await page.until(IDLE)
                assert await page.js(STATUS) == "fish: finished, 150 points."
                assert await page.js("sheet.strokes.map(({ points }) => points.length)") == [76, 74]
                assert sketcher.asked[0][:2] == ("fish", 0.4)

        asyncio.run(scenario())

    def test_the_sheet_keeps_all_of_a_drawing_in_view(self, port):
        class Leaping(Spiral):
            def draw(self, word, temperature, start=(), latent=None, seed=None):
                for x, y in [(0, 0), (900, 0), (900, 1500), (-4000, 1500), (9000, -9000)]:
                    yield float(x), float(y), 0

        async def scenario():
            async with live_page(port, Leaping()) as (page, _):
                await page.js(WATCH_BORDER)
                await set_speed(page, 10)
                await page.js(click("draw"))
                await page.until(f"{IDLE} && !before")  # and nothing moves any more
                assert await page.js("outside") == 0
                assert await page.js("paints") > 5
                assert await page.js("sheet.view.right - sheet.view.left") == pytest.approx(13_000 * 1.16, rel=0.01)

        asyncio.run(scenario())

    def test_the_first_point_is_there_within_300_ms_of_the_click(self, port):
        async def scenario():
            async with live_page(port, Spiral(0.002)) as (page, _):
                await page.js("""window.waited = 0; byId("draw").addEventListener("click", () => {
                    const clicked = performance.now();
                    const look = () => sheet.strokes.length
                        ? (window.waited = performance.now() - clicked) : requestAnimationFrame(look);
                    look();
                })""")
                await page.js(click("draw"))
                await page.until("waited > 0")
                assert await page.js("waited") < 300

        asyncio.run(scenario())

    def test_saved_svg_has_the_strokes(self, port):
        async def scenario():
            sketcher = Spiral(0, points=20)
            async with live_page(port, sketcher) as (page, _):
                await page.js("""URL.createObjectURL = (blob) => { window.saved = blob; return "#"; };
                    HTMLAnchorElement.prototype.click = function () { window.file = this.download; }""")
                await page.key("d")
                await page.until(f"{IDLE} && sheet.strokes.length")
                await page.js(click("save"))
                svg = ElementTree.fromstring(await page.js("saved.text()"))
                assert await page.js("file") == "cat.svg"
                lines = [line.get("points").split() for line in svg.iter("{http://www.w3.org/2000/svg}polyline")]
                read = [[float(value) for value in " ".join(line).replace(",", " ").split()] for line in lines]
                both = [np.ravel(stroke["points"]).tolist() for stroke in await page.js("sheet.strokes")]
                assert read == both
                left, top, width, height = map(float, svg.get("viewBox").split())
                assert left <= min(min(line[::2]) for line in read)
                assert top <= min(min(line[1::2]) for line in read)
                assert left + width >= max(max(line[::2]) for line in read)
                assert top + height >= max(max(line[1::2]) for line in read)

        asyncio.run(scenario())

    def test_stop_keeps_what_is_drawn(self, port):
        async def scenario():
            async with live_page(port, Spiral(0.002, points=290)) as (page, app):
                await page.key("d")
                await page.until("countPoints(sheet.strokes) > 5")
                await page.key("s")
                await page.until(IDLE)
                assert await freed(app)
                count = await page.js("countPoints(sheet.strokes)")
                await asyncio.sleep(0.2)
                assert 5 < count == await page.js("countPoints(sheet.strokes)")
                await page.key("x")
                await page.until(f"{INK % '#sheet'} === 0")

        asyncio.run(scenario())

    def test_ten_quick_clicks_leave_no_stuck_drawing(self, port):
        async def scenario():
            sketcher = Spiral(0.002, points=40)
            async with live_page(port, sketcher) as (page, app):
                await page.js(f"for (let number = 0; number < 10; number++) {click('draw')}")
                late = {"type": "point", "id": 9, "x": 1, "y": 1, "pen": 0}  # sent before the tenth was heard of
                assert await page.js("running.id") == 10
                await page.js(f"socket.onmessage({{ data: JSON.stringify({json.dumps(late)}) }})")
                await page.until(IDLE)
                assert await freed(app)
                assert await page.js("countPoints(sheet.strokes)") == 40
                assert await page.js(STATUS) == "cat: finished, 40 points."

        asyncio.run(scenario())

    def test_a_closed_tab_frees_its_drawing(self, port):
        async def scenario():
            async with TestServer(make_app(Spiral(0.002, points=290))) as server:
                async with tab(port, server.make_url("/")) as page:
                    await page.until(IDLE)
                    await set_speed(page, 10)
                    await page.js(click("draw"))
                    await page.until("sheet.strokes.length")
                    assert len(server.app[ACTIVE]) == 1
                assert await freed(server.app)

        asyncio.run(scenario())


class TestOwnStrokes:
    @pytest.mark.parametrize("how", ["mouse", "touch"])
    def test_the_model_goes_on_with_them(self, port, how):
        async def scenario():
            sketcher = Spiral(0, points=30)
            async with live_page(port, sketcher) as (page, _):
                await getattr(page, how)(HAND)
                await getattr(page, how)([(400, 300), (460, 380)])
                strokes = await page.js("sheet.strokes")
                assert [stroke["by"] for stroke in strokes] == ["ink", "ink"]
                ink = await page.js(INK % "#sheet")
                assert ink > 0
                await page.js(click("continue"))
                await page.until(f"{IDLE} && sheet.strokes.length > 2")
                start = [stroke.tolist() for stroke in sketcher.asked[0][2]]
                sent = np.concatenate(start)
                assert np.allclose(sent, np.concatenate([stroke["points"] for stroke in strokes]))
                assert len(start[0]) == len(HAND)
                rect = await page.js("(({ left, top }) => [left, top])(byId('sheet').getBoundingClientRect())")
                drawn = np.array([*HAND, (400, 300), (460, 380)]) - rect
                scale = np.ptp(sent[:, 0]) / np.ptp(drawn[:, 0])
                assert np.allclose(sent - sent[0], scale * (drawn - drawn[0]), atol=0.3)
                assert await page.js("sheet.strokes.map(({ by }) => by)") == ["ink", "ink", "model", "model"]
                assert await page.js("countPoints(sheet.strokes)") == len(HAND) + 2 + 30

        asyncio.run(scenario())

    def test_to_begin_a_stroke_stops_the_model(self, port):
        async def scenario():
            async with live_page(port, Spiral(0.002, points=290)) as (page, app):
                await set_speed(page, 50)
                await page.js(click("draw"))
                await page.until("countPoints(sheet.strokes) > 5")
                await page.mouse(HAND)
                assert await page.js(IDLE)
                assert await freed(app)
                await page.js(click("continue"))
                await page.until("sheet.strokes.length > 2")
                assert await page.js("sheet.strokes.map(({ by }) => by)") == ["model", "ink", "model"]
                assert await page.js("sheet.strokes[1].points.length") == len(HAND)

        asyncio.run(scenario())


class TestMorph:
    def test_between_two_kept_drawings(self, port):
        async def scenario():
            sketcher = Spiral(0, points=20)
            async with live_page(port, sketcher) as (page, _):
                assert await page.js("byId('morph').disabled")
                await set_speed(page, 300)
                for name in ("a", "b"):
                    await page.mouse(HAND if name == "a" else [(100, 100), (700, 500)])
                    await page.key(name)
                    assert await page.js(INK % f"#kept-{name}") > 0
                    await page.key("x")
                await page.key("m")
                await page.until(f"{IDLE} && frames.length === 9")
                assert await page.js("byId('frame').value") == "8"
                assert await page.js("frames.map(countPoints)") == [20] * 9
                widths = [float(latent[0]) for *_, latent, _ in sketcher.asked]
                assert widths == sorted(widths)
                await page.js("byId('frame').value = 2; byId('frame').dispatchEvent(new Event('input'))")
                assert await page.js("sheet.strokes === frames[2]")

        asyncio.run(scenario())


class TestFailures:
    def test_a_model_that_fails_is_told(self, port):
        class Broken(Spiral):
            def draw(self, word, temperature, start=(), latent=None, seed=None):
                yield 0.0, 0.0, 0
                raise RuntimeError("out of ink")

        async def scenario():
            async with live_page(port, Broken()) as (page, _):
                await page.js(click("draw"))
                await page.until("byId('status').className === 'bad'")
                assert await page.js(STATUS) == "The model failed: out of ink"
                assert await page.js(IDLE)

        asyncio.run(scenario())

    def test_a_lost_connection_is_told_and_made_again(self, port):
        async def scenario():
            server = TestServer(make_app(Spiral(0)))
            await server.start_server()
            async with tab(port, server.make_url("/")) as page:
                await page.until(IDLE)
                address = server.make_url("/")
                await server.close()
                await page.until("byId('status').className === 'bad'")
                assert "The connection is lost." in await page.js(STATUS)
                assert await page.js("byId('draw').disabled")
                await page.until(f"{STATUS}.startsWith('The server cannot be reached.')")
                async with TestServer(make_app(Spiral(0)), port=address.port):
                    await page.until(IDLE)
                    assert (await page.js(STATUS)).startswith("Ready")

        asyncio.run(scenario())

    def test_a_full_server_is_told(self, port):
        async def scenario():
            server = TestServer(make_app(Spiral(0), limits=Limits(connections=1)))
            async with server, tab(port, server.make_url("/")) as first:
                await first.until(IDLE)
                async with tab(port, server.make_url("/")) as second:
                    await second.until(f"{STATUS}.startsWith('All 1 places are taken')")

        asyncio.run(scenario())


class TestReplay:
    def test_strokes_are_replayed_and_words_do_no_harm(self, port, tmp_path):
        word = "</script><script>window.harm = 1</script><img src=x onerror='window.harm = 1'>"
        line = [np.array([[0, 0], [100, 0], [100, 100], [0, 100]] * 10, np.float32)]
        write_page(tmp_path / "sketches.html", [Sketch(line, word, 0.4, "generate")] * 3)

        async def scenario():
            async with tab(port, f"file://{tmp_path}/sketches.html") as page:
                await page.until("sketches[0].shown > 3 && sketches[0].shown < 35")
                await page.js(click("play"))
                shown = await page.js("sketches[0].shown")
                part = await page.js(INK % "canvas")
                await asyncio.sleep(0.2)
                assert await page.js("sketches[0].shown") == shown
                assert await page.js("byId('play').textContent") == "Play"
                await page.js("byId('speed').value = 200;" + click("play"))
                await page.until("sketches.every(({ shown, count }) => shown >= count)")
                assert await page.js(INK % "canvas") > part > 0
                lines = await page.js("document.querySelector('.sketch').innerText.split('\\n')")
                assert lines == [word, "temperature 0.4"]
                assert await page.js("[window.harm, document.images.length]") == [None, 0]
                assert page.errors == []

        asyncio.run(scenario())
