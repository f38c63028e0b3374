"""Files of drawings: SVG, animated GIF and the page that replays."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lightning_tasks.drawings.gif import write_gif
from lightning_tasks.drawings.page import Sketch, label, write_page
from lightning_tasks.drawings.svg import to_svg

DRAWING = [
    np.array([[-20, 10], [30.25, 10], [30.25, 70.5]], np.float32),
    np.array([[0, 60], [180, 90]], np.float32),
]
SPIRAL = [np.array([[t * np.cos(t / 5), t * np.sin(t / 5)] for t in range(300)], np.float32)]


class TestSvg:
    def test_has_the_strokes_in_their_coordinates_within_the_view(self):
        svg = ElementTree.fromstring(to_svg(DRAWING, 320))
        assert (svg.get("width"), svg.get("height")) == ("320", "320")
        lines = [line.get("points") for line in svg.iter("{http://www.w3.org/2000/svg}polyline")]
        read = [np.array([point.split(",") for point in line.split()], float) for line in lines]
        for stroke, ours in zip(DRAWING, read, strict=True):
            assert np.allclose(stroke, ours, atol=0.005)
        left, top, width, height = map(float, svg.get("viewBox").split())
        assert width == height == pytest.approx(200 / 0.84, abs=0.01)  # the longer side and its margins
        assert left + width / 2 == pytest.approx(80, abs=0.01)
        assert top + height / 2 == pytest.approx(50, abs=0.01)

    @pytest.mark.parametrize("drawing", [[], [np.zeros((2, 2), np.float32)]])
    def test_nothing_to_draw_is_a_picture_too(self, drawing):
        assert ElementTree.fromstring(to_svg(drawing, 64)).get("viewBox") is not None


def frames_of(path):
    """Pixels and milliseconds of each frame."""
    with Image.open(path) as image:
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append((np.asarray(image.convert("L")), image.info["duration"]))
        assert image.info["loop"] == 0
        return frames


class TestGif:
    def test_a_frame_for_each_line_and_the_last_one_is_held(self, tmp_path):
        write_gif(tmp_path / "a.gif", DRAWING, 64)
        frames = frames_of(tmp_path / "a.gif")
        assert [milliseconds for _, milliseconds in frames] == [50, 50, 2000]
        ink = [(pixels < 128).sum() for pixels, _ in frames]
        assert 0 < ink[0] < ink[1] < ink[2]
        pixels = frames[-1][0]
        assert pixels.shape == (64, 64)
        for stroke in DRAWING:
            for x, y in (stroke - [80, 50]) * 0.84 * 64 / 200 + 32:
                assert pixels[int(y), int(x)] < 128
        rows, columns = np.nonzero(pixels < 128)
        assert 0.08 * 64 - 2 <= columns.min() < columns.max() <= 0.92 * 64 + 2
        assert rows.max() - rows.min() < columns.max() - columns.min()

    def test_a_long_drawing_takes_60_frames_at_most(self, tmp_path):
        write_gif(tmp_path / "a.gif", SPIRAL, 128)
        frames = frames_of(tmp_path / "a.gif")
        assert 50 <= len(frames) <= 60
        assert (tmp_path / "a.gif").stat().st_size < 200_000

    def test_nothing_to_draw_is_one_white_frame(self, tmp_path):
        write_gif(tmp_path / "a.gif", [], 32)
        with Image.open(tmp_path / "a.gif") as image:
            assert image.n_frames == 1
            assert np.asarray(image.convert("L")).min() == 255


class TestPage:
    @pytest.mark.parametrize(
        ("temperature", "mode", "expected"),
        [
            (0.4, "generate", "temperature 0.4"),
            (1.0, "reconstruct", "reconstructed, temperature 1"),
        ],
    )
    def test_labels(self, temperature, mode, expected):
        assert label(Sketch(DRAWING, "cat", temperature, mode)) == expected

    def test_is_one_file_with_all_strokes(self, tmp_path):
        words = ["cat", "</script><b>", "\u2028 {{sketches}} \\"]
        write_page(tmp_path / "sketches.html", [Sketch(DRAWING, word, 0.25, "generate") for word in words])
        page = (tmp_path / "sketches.html").read_text(encoding="utf-8")
        data = json.loads(re.search(r'<script id="data".*?>(.*?)</script>', page, re.DOTALL)[1])
        assert [each["word"] for each in data] == words
        assert data[0]["strokes"] == [[[-20, 10], [30.2, 10], [30.2, 70.5]], [[0, 60], [180, 90]]]
        assert page.count("</script>") == 2
        assert not re.search(r"https?://|<link|src=|@import|\burl\(", page)
        assert "{{page.css}}" not in page
        assert "class Sheet" in page
