"""Files of Quick, Draw!: parsed, cached, downloaded."""

import base64
import hashlib
import http.server
import json
import os
import threading

import numpy as np
import pytest
from helpers.quickdraw_files import SMALL_STEPS, line, scribbles, write

from datamodules import QuickDrawDataModule
from lightning_tasks.drawings import cache, files
from lightning_tasks.drawings.cache import read_file
from lightning_tasks.drawings.ndjson import parse


def test_of_two_files_of_a_word_the_one_that_is_read_is_said(tmp_path):
    folder = write(tmp_path, ["cat", "dog"])
    (folder / "sketchrnn_cat.npz").write_bytes(b"")
    data = QuickDrawDataModule(["cat", "dog"], root=str(tmp_path))
    with pytest.warns(UserWarning, match=r"cat\.ndjson is read, and not sketchrnn_cat\.npz beside it"):
        data.prepare_data()


class TestParsing:
    def test_all_fields_and_none_but_the_drawing(self):
        lines = [
            line(
                recognized=True, key_id="5891796615823360", countrycode="AE", timestamp="2017-03-01 20:41:36.70725 UTC"
            ),
            json.dumps({"drawing": [[[0, 7.5], [0, 3]]]}),
            line(recognized=False, key_id="abc"),
        ]
        drawings, bad = parse([each.encode() for each in lines], "cat")
        assert drawings.steps.tolist() == [*SMALL_STEPS, [7.5, 3, 1], *SMALL_STEPS]
        assert drawings.starts.tolist() == [0, 4, 5, 9]
        assert drawings.recognized.tolist() == [1, -1, 0]
        assert (bad.lines, len(bad)) == (3, 0)

    def test_raw_among_simplified(self):
        """The raw one is 510 pixels wide and at (40, 30); the middle point is not needed."""
        raw = [[[40, 300, 550], [30, 31, 30], [0, 90, 150]], [[40, 40], [30, 132], [300, 402]]]
        drawings, bad = parse([line().encode(), line(raw).encode(), line().encode()], "cat")
        assert not bad
        assert drawings.starts.tolist() == [0, 4, 7, 11]
        assert drawings.steps[4:7].tolist() == [[255, 0, 1], [-255, 0, 0], [0, 51, 1]]
        assert drawings.steps[7:].tolist() == SMALL_STEPS

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (line()[:-9], "no whole JSON object"),
            ("[1, 2]", "no whole JSON object"),
            ('{"word": "c\xff"', "no whole JSON object"),
            ("  \n", "empty"),
            (line(word="dog"), "another word"),
            (line([]), "no strokes"),
            ('{"word": "cat"}', "no strokes"),
            (line([[[1, 2], [3, 4]], [[5], [6]]]), "a stroke of fewer than two points"),
            (line([[[], []]]), "a stroke of fewer than two points"),
            (line([[[1, 2, 3], [4, 5]]]), "x and y of unequal length"),
            (line([[[1, 2], [4, 5], [0, 9]], [[1, 2], [4, 5]]]), "x and y of unequal length"),
            (line([[[1, 2], ["3", 4]]]), "coordinates that are no numbers"),
            (line([[[1, None], [3, 4]]]), "coordinates that are no numbers"),
            (line([[[1, True], [3, 4]]]), "coordinates that are no numbers"),
            (line([[[1, 2], [float("nan"), 4]]]), "coordinates beyond 100,000 or not finite"),
            (line([[[1, -float("inf")], [3, 4]]]), "coordinates beyond 100,000 or not finite"),
            ('{"drawing": [[[1, 1e999], [3, 4]]]}', "coordinates beyond 100,000 or not finite"),
            (line([[[1, 2], [-100001, 4]]]), "coordinates beyond 100,000 or not finite"),
            (line([[[1, 2]]]), "strokes that are not [[x ...], [y ...]]"),
            (line([3]), "strokes that are not [[x ...], [y ...]]"),
            (line(recognized="yes"), "fields of another kind"),
        ],
    )
    def test_bad_lines_are_skipped_and_named(self, text, reason):
        drawings, bad = parse([line().encode(), text.encode("latin1"), line().encode()], "cat")
        assert bad.found == {reason: [2]}
        assert bad.lines == 3
        assert drawings.steps.tolist() == SMALL_STEPS * 2

    def test_lines_are_counted_over_chunks(self, monkeypatch):
        monkeypatch.setattr("lightning_tasks.drawings.ndjson.CHUNK", 2)
        drawings, bad = parse([line().encode(), b"\n", line().encode(), line().encode(), b"\n"], "cat")
        assert bad.found == {"empty": [2, 5]}
        assert drawings.starts.tolist() == [0, 4, 8, 12]


class TestCache:
    def test_parsed_once_and_again_when_the_file_changes(self, tmp_path, monkeypatch):
        path = write(tmp_path, ["cat"], 3) / "cat.ndjson"
        path.write_text(path.read_text() + "\n")
        first, bad = read_file(path, "cat")
        parsed = []
        monkeypatch.setattr(cache, "parse", lambda *args: parsed.append(args) or parse(*args))
        os.utime(path, (1, 1))  # the content decides
        again, bad_again = read_file(path, "cat")
        assert not parsed
        assert bad_again == bad
        assert bad.found == {"empty": [4]}
        for name in ("steps", "starts", "recognized"):
            kept, made = getattr(again, name), getattr(first, name)
            assert kept.dtype == made.dtype
            assert np.array_equal(kept, made)
        path.write_text(line())
        assert read_file(path, "cat")[0].steps.tolist() == SMALL_STEPS
        assert len(parsed) == 1
        assert read_file(path, "dog")[1].found == {"another word": [1]}

    def test_damage_and_leftovers_are_mended(self, tmp_path):
        path = write(tmp_path, ["cat"], 9) / "cat.ndjson"
        whole, _ = read_file(path, "cat")
        kept = path.with_name(".cat.ndjson.cache.npz")
        content = kept.read_bytes()
        flipped = bytearray(content)
        flipped[content.index(whole.steps.tobytes()) + 5] ^= 64
        for damage in (bytes(flipped), content[:-100], b"", b"nothing"):
            kept.write_bytes(damage)
            kept.with_name(f"{kept.name}.partial").write_bytes(content[:50])  # of a kill
            assert np.array_equal(read_file(path, "cat")[0].steps, whole.steps)
            assert np.load(kept)["steps"].tolist() == whole.steps.tolist()

    def test_a_kill_while_writing_leaves_nothing_that_is_read(self, tmp_path, monkeypatch):
        path = write(tmp_path, ["cat"], 9) / "cat.ndjson"

        def die(file, **_):
            file.write(b"half")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(np, "savez", die)
            with pytest.raises(KeyboardInterrupt):
                read_file(path, "cat")
        assert not path.with_name(".cat.ndjson.cache.npz").exists()
        assert len(read_file(path, "cat")[0]) == 9

    def test_a_folder_that_cannot_be_written_to(self, tmp_path, monkeypatch):
        path = write(tmp_path, ["cat"], 2) / "cat.ndjson"
        monkeypatch.setattr(cache.os, "access", lambda *_: False)
        assert len(read_file(path, "cat")[0]) == 2
        assert [each.name for each in path.parent.iterdir()] == ["cat.ndjson"]


class Storage(http.server.BaseHTTPRequestHandler):
    """Answers as the official server: ranges, MD5, 404."""

    content = b"".join(line(each, "the sun").encode() for each in scribbles(60, 1))
    asked: list  # of each request its path and range
    breaks_off = False
    ranges = True
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()

    def do_GET(self):
        wanted = self.headers["Range"]
        self.asked.append((self.path, wanted))
        if self.path != "/simplified/the%20sun.ndjson":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(self.content) - start))
        self.send_header("x-goog-hash", "crc32c=AAAAAA==")
        self.send_header("x-goog-hash", f"md5={self.md5}")
        self.end_headers()
        self.wfile.write(self.content[start : start + 1000] if self.breaks_off else self.content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def storage(monkeypatch):
    handler = type("Handler", (Storage,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(files, "ADDRESS", f"http://127.0.0.1:{server.server_port}/simplified")
    yield handler
    server.shutdown()
    server.server_close()


def get(root, *words):
    QuickDrawDataModule(words, root=str(root)).prepare_data()


class TestDownload:
    def test_once_and_only_what_is_missing(self, tmp_path, storage):
        write(tmp_path, ["cat"])
        for _ in range(2):
            get(tmp_path, "cat", "the sun")
            assert storage.asked == [("/simplified/the%20sun.ndjson", None)]
        folder = tmp_path / "quickdraw"
        assert (folder / "the sun.ndjson").read_bytes() == storage.content
        assert not list(folder.glob("*.part"))

    @pytest.mark.parametrize("name", ["dog.npz", "dog.full.npz", "sketchrnn_dog.npz", "sketchrnn_dog.full.npz"])
    def test_a_file_of_sketch_rnn_will_do(self, tmp_path, storage, name):
        random = np.random.default_rng(0)
        pens = np.array([0, 0, 1, 0, 0, 1])
        parts = {}
        for part, count in (("train", 20), ("valid", 3), ("test", 2)):
            parts[part] = np.empty(count, object)
            parts[part][:] = [np.column_stack([random.integers(-99, 99, (6, 2)), pens]) for _ in range(count)]
        (tmp_path / "quickdraw").mkdir()
        np.savez(tmp_path / "quickdraw" / name, **parts)
        for _ in range(2):
            data = QuickDrawDataModule(("dog",), root=str(tmp_path))
            data.prepare_data()
            assert len(data.train_set) == 15
        assert not storage.asked

    def test_an_interrupted_one_goes_on(self, tmp_path, storage):
        storage.breaks_off = True
        for kept in (1000, 2000):
            with pytest.raises(
                OSError, match=r"download failed .* broke off after \d,000 of \d,\d+ bytes; the next start"
            ):
                get(tmp_path, "the sun")
            assert (tmp_path / "quickdraw" / "the sun.ndjson.part").stat().st_size == kept
        storage.breaks_off = False
        get(tmp_path, "the sun")
        assert [wanted for _, wanted in storage.asked] == [None, "bytes=1000-", "bytes=2000-"]
        assert (tmp_path / "quickdraw" / "the sun.ndjson").read_bytes() == storage.content

    @pytest.mark.parametrize("kept", [500, 10**5])
    def test_a_server_without_ranges_and_a_part_that_is_too_long(self, tmp_path, storage, kept):
        storage.ranges = kept == 10**5
        (tmp_path / "quickdraw").mkdir()
        (tmp_path / "quickdraw" / "the sun.ndjson.part").write_bytes(b"x" * kept)
        get(tmp_path, "the sun")
        assert (tmp_path / "quickdraw" / "the sun.ndjson").read_bytes() == storage.content

    @pytest.mark.parametrize("kept", [0, 500])
    def test_wrong_content_is_refused_and_removed(self, tmp_path, storage, kept):
        (tmp_path / "quickdraw").mkdir()
        part = tmp_path / "quickdraw" / "the sun.ndjson.part"
        part.write_bytes(b"x" * kept)
        if not kept:
            storage.md5 = base64.b64encode(bytes(16)).decode()
        with pytest.raises(OSError, match=r"what came is not the official file \(length or MD5\)"):
            get(tmp_path, "the sun")
        assert not part.exists()
        assert not part.with_suffix("").exists()

    def test_no_such_word(self, tmp_path, storage):
        write(tmp_path, ["cat", "camel", "bus"], 3)
        message = "words: QuickDraw has no word 'camle', and .*quickdraw has no file of it; nearest names there: camel"
        with pytest.raises(ValueError, match=f"^{message}$"):
            get(tmp_path, "cat", "camle")
        assert storage.asked == [("/simplified/camle.ndjson", None)]

    def test_no_network(self, tmp_path, monkeypatch):
        monkeypatch.setattr(files, "ADDRESS", "http://127.0.0.1:9/simplified")
        write(tmp_path, ["cat"], 3)
        message = r"QuickDraw: no cta.ndjson in .* and the download failed \(URLError: .*\); nearest names there: cat"
        with pytest.raises(OSError, match=f"^{message}$"):
            get(tmp_path, "cta")
