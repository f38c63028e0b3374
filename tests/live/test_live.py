"""The live page's server: what it sends, what it refuses, and that nothing is drawn for nobody."""

import asyncio
import json
import re
import time
from contextlib import suppress
from socket import SHUT_RDWR

import aiohttp
import pytest
from helpers.live import DRAW, answers, ask, opened, points, serving, until
from helpers.spiral import Spiral, expected

from lightning_tasks.live.server import ACTIVE, Limits, is_own_page

CLOSINGS = [getattr(aiohttp.WSMsgType, name) for name in ("CLOSE", "CLOSED", "ERROR")]
SQUARE = [[[0, 0], [50, 0], [50, 50]], [[0, 50], [0, 10]]]


class TestDrawing:
    def test_hello_tells_the_words_and_what_is_allowed(self):
        async def scenario():
            async with serving() as client, opened(client) as socket:
                return await socket.receive_json()

        words = ["cat", "apple", "bus", "fish", "umbrella"]
        assert asyncio.run(scenario()) == {
            "type": "hello",
            "words": words,
            "temperature": [0.01, 2],
            "speed": [10, 500],
        }

    def test_all_points_come_and_then_an_end(self):
        sketcher = Spiral(0)
        messages = ask(DRAW | {"seed": 7}, sketcher)
        assert points(messages) == expected(sketcher)
        assert messages[-1] == {"type": "end", "id": 1, "how": "finished"}
        assert {each["id"] for each in messages} == {1}
        assert sketcher.asked == [("cat", 0.4, [], None, 7)]
        assert {name.split("_")[0] for name in sketcher.threads} == {"network"}  # the event loop is left alone

    def test_points_leave_as_they_are_made(self):
        async def scenario():
            sketcher = Spiral(pause=0.02, points=50)
            async with serving(sketcher) as client, opened(client) as socket:
                await socket.receive_json()
                await socket.send_json(DRAW)
                for number in range(1, 6):
                    await socket.receive_json()
                    assert sketcher.steps <= number + 2

        asyncio.run(scenario())

    def test_no_faster_than_asked(self):
        started = time.monotonic()
        ask(DRAW | {"speed": 50}, Spiral(0, points=20))
        assert time.monotonic() - started >= 19 / 50

    def test_what_never_ends_is_cut_by_points_and_by_time(self):
        messages = ask(DRAW, Spiral(0, points=10_000, ends=False))
        assert messages[-1]["how"] == "cut at the most points, 300"
        assert 300 <= len(points(messages)) <= 302
        messages = ask(DRAW | {"speed": 50}, Spiral(0), Limits(seconds=0.2))
        assert messages[-1]["how"] == "cut after 0.2 seconds"
        assert 5 <= len(points(messages)) <= 11

    def test_goes_on_with_what_was_begun(self):
        sketcher = Spiral(0)
        messages = ask(DRAW | {"type": "continue", "strokes": SQUARE}, sketcher)
        _, _, start, latent, _ = sketcher.asked[0]
        assert [stroke.tolist() for stroke in start] == SQUARE
        assert latent is None
        assert points(messages)[0][:2] == (0, 10)

    def test_morphs_from_the_first_to_the_second(self):
        sketcher = Spiral(0, points=5)
        wide = [[[0, 0], [200, 0]]]
        messages = ask(DRAW | {"type": "morph", "first": SQUARE, "second": wide, "frames": 4}, sketcher)
        assert [each["frame"] for each in messages if each["type"] == "frame"] == [0, 1, 2, 3]
        assert [round(float(latent[0])) for _, _, _, latent, _ in sketcher.asked] == [50, 100, 150, 200]
        assert len({seed for *_, seed in sketcher.asked}) == 1
        assert len(points(messages)) == 4 * 5
        assert messages[-1]["how"] == "finished"


class TestManyAtOnce:
    def test_three_pages_get_their_share(self):
        async def one(client):
            async with opened(client) as socket:
                await socket.receive_json()
                clicked = time.monotonic()
                await socket.send_json(DRAW)
                await socket.receive_json()
                first = time.monotonic()
                for _ in range(60):
                    await socket.receive_json()
                return first - clicked, 60 / (time.monotonic() - first)

        async def scenario():
            async with serving(Spiral(0.002)) as client:
                return await asyncio.gather(*(one(client) for _ in range(3)))

        for first, rate in asyncio.run(scenario()):
            assert first < 0.3
            assert rate > 60

    def test_a_new_request_ends_the_one_before(self):
        async def scenario():
            async with serving(Spiral(0.002)) as client, opened(client) as socket:
                for number in range(10):
                    await socket.send_json(DRAW | {"id": number})
                messages = []
                while not messages or messages[-1]["type"] != "end":
                    messages.append(await socket.receive_json(timeout=10))
                    assert len(client.app[ACTIVE]) <= 1
                await until(lambda: not client.app[ACTIVE])
                return messages

        messages = asyncio.run(scenario())
        assert messages[-1]["id"] == 9
        assert points([each for each in messages if each.get("id") == 9]) == expected(Spiral())

    @pytest.mark.parametrize("how", ["close", "abort", "stop"])
    def test_nothing_is_drawn_for_a_page_that_is_closed_or_stops(self, how):
        async def scenario():
            sketcher = Spiral(0.002, points=290)
            async with serving(sketcher) as client, opened(client) as socket:
                await socket.receive_json()
                await socket.send_json(DRAW)
                await socket.receive_json()
                assert len(client.app[ACTIVE]) == 1
                if how == "close":
                    await socket.close()
                elif how == "abort":
                    socket.get_extra_info("socket").shutdown(SHUT_RDWR)
                else:
                    await socket.send_json({"type": "stop", "id": 1})
                await until(lambda: not client.app[ACTIVE], 1)
                await asyncio.sleep(0.02)
                steps = sketcher.steps
                await asyncio.sleep(0.1)
                assert sketcher.steps == steps < 200

        asyncio.run(scenario())

    def test_a_page_that_is_closed_while_the_model_thinks_is_not_waited_for(self):
        async def scenario():
            sketcher = Spiral(0.5)
            async with serving(sketcher) as client, opened(client) as socket:
                await socket.receive_json()
                await socket.send_json(DRAW)
                await until(lambda: client.app[ACTIVE])
                await socket.close()
                await until(lambda: not client.app[ACTIVE], 0.3)
                await asyncio.sleep(0.8)
                assert sketcher.steps <= 1

        asyncio.run(scenario())

    def test_a_page_that_reads_nothing_holds_up_no_other(self):
        async def scenario():
            async with serving(Spiral(0)) as client, opened(client) as silent, opened(client) as socket:
                await socket.receive_json()
                await silent.send_json(DRAW)
                await socket.send_json(DRAW)
                return await answers(socket)

        assert asyncio.run(scenario())[-1]["how"] == "finished"

    def test_a_hundred_connections(self):
        async def scenario():
            async with serving() as client:
                sockets = [await opened(client) for _ in range(32)]
                for _ in range(68):
                    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                        await opened(client)
                    assert refused.value.status == 503
                answer = await client.get("/draw")
                assert (answer.status, await answer.text()) == (503, "All 32 places are taken, try again later.")
                await sockets[0].close()
                async with opened(client) as socket:  # the place is free again
                    assert (await socket.receive_json())["type"] == "hello"
                    await socket.send_json(DRAW)
                    return await answers(socket)

        assert asyncio.run(scenario())[-1]["how"] == "finished"


LONG = {"type": "continue", "strokes": [[[1, 2]] * 5000]}
LONG_MORPH = {"type": "morph", "first": SQUARE, "second": [[[1, 2]] * 5000], "frames": 5}
BAD = {
    "no json": ("{", "truncated"),
    "deep": ("[" * 60_000, "Expected `object`, got `array`"),
    "many digits": ('{"type": "stop", "id": ' + "9" * 50_000 + "}", "$.id"),
    "a list": ("[]", "Expected `object`, got `array`"),
    "no type": ({"id": 1}, "`type`"),
    "a type of a list": ({"id": 1, "type": []}, "$.type"),
    "no id": ({"type": "stop"}, "`id`"),
    "near word": (DRAW | {"word": "aple"}, "There is no word 'aple'; the nearest: apple."),
    "far word": (DRAW | {"word": "xyz"}, "known are cat, apple, bus, fish, umbrella."),
    "endless word": (DRAW | {"word": "cat" * 20_000}, "There is no word"),
    "word of a number": (DRAW | {"word": 3}, "$.word"),
    "half a character": (DRAW | {"word": "\ud800"}, "surrogate"),
    "hot": (DRAW | {"temperature": 1e9}, "<= 2.0 - at `$.temperature`"),
    "cold": (DRAW | {"temperature": -1}, ">= 0.01 - at `$.temperature`"),
    "nan": (DRAW | {"temperature": float("nan")}, "malformed"),
    "infinite": (DRAW | {"temperature": float("inf")}, "malformed"),
    "text": (DRAW | {"temperature": "0.4"}, "$.temperature"),
    "yes": (DRAW | {"temperature": True}, "$.temperature"),
    "no speed": (DRAW | {"speed": 0}, ">= 10.0 - at `$.speed`"),
    "half a seed": (DRAW | {"seed": 0.5}, "$.seed"),
    "no strokes": (DRAW | {"type": "continue"}, "`strokes`"),
    "empty": (DRAW | {"type": "continue", "strokes": []}, "length >= 1 - at `$.strokes`"),
    "many strokes": (DRAW | {"type": "continue", "strokes": SQUARE * 101}, "length <= 200 - at `$.strokes`"),
    "many points": (DRAW | LONG, "The strokes may have 2000 points, got 5000."),
    "many points of a morph": (DRAW | LONG_MORPH, "The second may have 2000 points, got 5000."),
    "a dot": (DRAW | {"type": "continue", "strokes": [[[1, 2]]]}, "length >= 2 - at `$.strokes[0]`"),
    "nan in a point": (DRAW | {"type": "continue", "strokes": [[[1, float("nan")], [1, 2]]]}, "malformed"),
    "far point": (DRAW | {"type": "continue", "strokes": [[[1, 1e30], [1, 2]]]}, "<= 10000.0"),
    "huge point": (DRAW | {"type": "continue", "strokes": [[[1, 10**400], [1, 2]]]}, "out of range"),
    "flat point": (DRAW | {"type": "continue", "strokes": [[1, 2]]}, "Expected `array`, got `int`"),
    "point of a text": (DRAW | {"type": "continue", "strokes": [["ab", "cd"]]}, "Expected `array`, got `str`"),
    "no second": (DRAW | {"type": "morph", "first": SQUARE, "frames": 5}, "`second`"),
    "frames": (DRAW | {"type": "morph", "first": SQUARE, "second": SQUARE, "frames": 1e3}, "$.frames"),
    "1 MB": (DRAW | {"type": "continue", "strokes": [[[1.5, 2.5]] * 90_000]}, "The message is too long"),
    "bytes": (b"abc", "The message is no text."),
}


class TestBadRequests:
    @pytest.mark.parametrize("name", BAD)
    def test_a_sentence_and_a_connection_that_goes_on(self, name):
        request, sentence = BAD[name]

        async def scenario():
            sketcher = Spiral(0, points=3)
            async with serving(sketcher) as client, opened(client) as socket:
                await socket.receive_json()
                if isinstance(request, bytes):
                    await socket.send_bytes(request)
                else:
                    await socket.send_str(request if isinstance(request, str) else json.dumps(request))
                error = await socket.receive_json(timeout=10)
                assert sketcher.asked == []
                await socket.send_json(DRAW)
                assert (await answers(socket))[-1]["how"] == "finished"
                return error

        error = asyncio.run(scenario())
        assert (error["type"], error["id"]) == ("error", None)
        assert sentence in error["message"]
        assert len(error["message"]) < 300

    def test_far_too_long_a_message_closes_that_connection_only(self):
        async def scenario():
            async with serving() as client, opened(client) as bad, opened(client) as good:
                await bad.receive_json()
                with suppress(ConnectionError):  # it may be closed before all is sent
                    await bad.send_str(" " * 5_000_000)
                assert (await bad.receive(timeout=10)).type in CLOSINGS
                await good.receive_json()
                await good.send_json(DRAW)
                return await answers(good)

        assert asyncio.run(scenario())[-1]["how"] == "finished"

    @pytest.mark.parametrize("fault", ["raises", "nan"])
    def test_a_model_that_fails_is_told_and_goes_on(self, fault, caplog):
        class Broken(Spiral):
            def draw(self, word, temperature, start=(), latent=None, seed=None):
                yield 0.0, 0.0, 0
                if word == "bus":
                    if fault == "raises":
                        raise RuntimeError("out of ink")
                    yield float("nan"), 0.0, 0
                yield 0.0, 0.0, 2

        async def scenario():
            async with serving(Broken()) as client, opened(client) as socket:
                await socket.receive_json()
                await socket.send_json(DRAW | {"word": "bus"})
                error = (await answers(socket))[-1]
                await socket.send_json(DRAW)
                return error, (await answers(socket))[-1]

        error, end = asyncio.run(scenario())
        reason = {"raises": "out of ink", "nan": "it gave a point that is no number"}[fault]
        assert error == {"type": "error", "id": 1, "message": f"The model failed: {reason}"}
        assert end["how"] == "finished"
        assert reason in caplog.text


class TestForeignPages:
    @pytest.mark.parametrize(
        ("origin", "host", "own"),
        [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
            ("http://localhost:8000", "localhost:8000", True),
            ("http://[::1]:8000", "[::1]:8000", True),
            ("http://192.168.1.7:8000", "192.168.1.7:8000", True),
            ("http://draw.lan:8000", "draw.lan:8000", True),
            ("http://evil.example", "127.0.0.1:8000", False),
            ("http://evil.example:8000", "evil.example:8000", False),  # a name that was made to point here
            ("http://127.0.0.1:9000", "127.0.0.1:8000", False),
            ("http://localhost.evil.example:8000", "localhost.evil.example:8000", False),
            ("", "127.0.0.1:8000", False),
            ("null", "127.0.0.1:8000", False),
            ("http://[", "127.0.0.1:8000", False),
            ("http://", "", False),
        ],
    )
    def test_whose_page_it_is(self, origin, host, own):
        assert is_own_page(origin, host, "draw.lan") == own

    @pytest.mark.parametrize("origin", ["http://evil.example", None])
    def test_they_are_refused(self, origin):
        async def scenario():
            async with serving() as client:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await client.ws_connect("/draw", origin=origin)
                return refused.value.status

        assert asyncio.run(scenario()) == 403

    def test_the_page_takes_nothing_from_elsewhere(self):
        async def scenario():
            async with serving() as client:
                texts = {}
                for path in ("/", "/live.js", "/page.css", "/strokes.js"):
                    answer = await client.get(path)
                    assert answer.status == 200
                    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
                    texts[path] = await answer.text()
                return texts

        for text in asyncio.run(scenario()).values():
            # The name of a format, which nothing is loaded from.
            assert set(re.findall(r"https?://[^\s\"'`]+|\W//\w[^\s\"'`]*", text)) <= {"http://www.w3.org/2000/svg"}


class TestCommand:
    def test_errors_are_one_line(self, children, tmp_path):
        done = children.run(["--ckpt", tmp_path], tmp_path, "live")
        assert done.status == 1
        assert done.err.startswith(f"error: ckpt: no checkpoint at {tmp_path}")
        assert done.err.count("\n") == 1
