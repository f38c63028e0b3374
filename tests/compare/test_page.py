"""Runs on one page: what is bold, what the curves are, what it holds and what it never loads."""

import asyncio
import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import chromium, tab
from helpers.cards import put
from helpers.commands import refused
from PIL import Image

from lightning_tasks.compare.chart import Curve, chart
from lightning_tasks.compare.command import main as compare
from lightning_tasks.compare.page import LIMIT, best, curves, epochs_of, find_figures, make_page
from lightning_tasks.runs.formatting import better

NAN = float("nan")


class Page(HTMLParser):
    """Elements with their attributes, and the text of each table by row; a value in bold begins with two stars."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.in_table = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("**" if dict(attributes).get("class") == "best" else "")
        self.in_table = tag == "table" or (self.in_table and tag != "h2")

    def handle_data(self, text):
        if self.in_table and self.tables[-1]:
            self.tables[-1][-1][-1] += text.strip()

    def rows(self, table):
        return {name: cells for name, *cells in self.tables[table]}


def draw(run, name, size=(400, 300), noise=False):
    path = run / "figures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape) if noise else np.zeros(shape)
    Image.fromarray(pixels.astype(np.uint8)).save(path, compress_level=1)
    return path


def over_time(*accuracies, every=60.0):
    return {"seconds": [every * number for number, _ in enumerate(accuracies, 1)], "val/acc": list(accuracies)}


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("test/acc", [0.8, 0.9, 0.7], {1}),
        ("test/acc", [0.9, None, 0.9], {0, 2}),
        ("test/acc", [0.90001, 0.90002, 0.8], {0, 1}),  # both are written as 0.9
        ("test/acc", [NAN, 0.5, 0.4], {1}),
        ("test/acc", [0.9, None, None], set()),
        ("test/loss", [0.5, 0.4, 0.4], {1, 2}),
        ("test/severity_crm", [2.0, 1.0], {1}),
        ("test/endless", [0.1, 0.0], {1}),
        ("val/agreement_last", [0.1, 0.2], {1}),
        ("test/steps", [10.0, 20.0], set()),
        ("test/recognised_real", [0.1, 0.2], set()),
        ("test/same_super", [0.1, 0.2], set()),
    ],
)
def test_best_values_by_hand(metric, values, expected):
    assert best(metric, values) == expected


def test_directions_of_metrics():
    names = (
        "acc_teacher",
        "precision",
        "recall",
        "recognised",
        "nll",
        "divergence",
        "cost_tree",
        "distance",
        "novelty",
    )
    assert [better(f"test/{name}") for name in names] == [1, 1, 1, 1, -1, -1, -1, -1, 0]


def test_tables_of_a_page(card):
    one, two = (
        card(1, best_epoch=3, epochs=1200, teacher_ckpt="/home/me/logs/t/version_3/checkpoints/best.ckpt"),
        card(2),
    )
    two["configuration"]["model"]["init_args"]["label_smoothing"] = 0.25
    two["metrics"]["val/acc_mean"] = one["metrics"]["val/acc_mean"]
    page = Page(make_page({"logs/a": one, "logs/b": two}))
    assert page.rows(0) == {
        "": ["a", "b"],
        "test/acc": ["0.81", "**0.82"],
        "test/loss": ["**0.51", "0.52"],
        "val/acc": ["0.91", "**0.92"],
        "val/acc_last": ["0.71", "**0.72"],
        "val/acc_mean": ["**0.61", "**0.61"],
    }
    assert page.rows(1) == {"": ["a", "b"], "model.label_smoothing": ["0.0", "0.25"]}
    assert page.rows(2) == {
        "": ["a", "b"],
        "experiment": ["mnist_mlp", "mnist_mlp"],
        "seed": ["1", "2"],
        "tested epoch": ["3", "-"],
        "epochs": ["1,200", "-"],
        "seconds of training": ["10.0", "40.0"],
        "device": ["1 x CPU, 2 threads"] * 2,
        "precision": ["32-true"] * 2,
        "teacher": ["t/version_3/checkpoints/best.ckpt", "-"],
        "date": ["2026-01-01"] * 2,
        "parameters, student": ["1,000"] * 2,
        "parameters, teacher": ["5,000"] * 2,
    }


def test_runs_of_equal_options_and_their_commands(card):
    text = make_page({"logs/a": card(1), "logs/b": card(2)})
    assert "<h2>Options that differ</h2>\n<p>None.</p>" in text
    assert text.count("<pre>python cli.py fit") == 2
    assert "--seed_everything 2</pre>" in text
    assert text.count(f"Commit {40 * 'a'}") == 2


def test_text_of_cards_is_text(tmp_path, card):
    """Also what looks like a place of the template."""
    evil = "<script>\"'&{{plots}}</script>"
    texts = dict.fromkeys(("experiment", "commit", "command", "device", "date"), evil)
    one = card(1, **texts, over_time={"seconds": [1.0], evil: [2.0]})
    one["configuration"]["model"]["init_args"]["label_smoothing"] = evil
    one["metrics"][evil] = 0.5
    one["parameters"][evil] = 5
    run = tmp_path / "<script>&amp;" / "{{title}}<script>"
    draw(run, "<script>x.png")
    draw(run, "&<script>.png").write_text("no figure")
    text = make_page({str(run): one, "logs/b": card(2)})
    page = Page(text)
    assert "<script" not in text
    assert page.rows(0)[evil] == ["0.5", "-"]
    assert page.rows(1)["model.label_smoothing"] == [evil, "0.0"]
    assert [attributes["alt"].split()[0] for tag, attributes in page.elements if tag == "img"] == ["<script>x"]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_nothing_is_loaded(tmp_path, card):
    draw(tmp_path / "a", "curves.png")
    text = make_page({str(tmp_path / "a"): card(1, over_time=over_time(0.5, 0.6), epochs=2)})
    assert "http" not in text.replace("http-equiv", "")
    assert not re.search(r"url\(|@import", text)
    page = Page(text)
    loads = [value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")]
    assert len(loads) == 2  # the icon, and the plot
    assert all(each.startswith("data:") for each in loads)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": policy}) in page.elements


def test_curves_by_hand(card):
    """Over epochs and minutes, in percent; a run without values in time, or without its epochs, has no curve."""
    one = card(1, over_time=over_time(0.5, 0.75, 0.625), epochs=3, best_epoch=2)
    two = card(2, over_time=over_time(0.25, 0.5, every=30.0), epochs=8, best_epoch=4)
    two["configuration"]["trainer"]["check_val_every_n_epoch"] = 4
    three = card(3, over_time=over_time(0.125, 0.25), epochs=7, best_epoch=7)
    names, cards = ["a", "b", "c", "d"], [one, two, three, card(4)]
    assert curves(names, cards, "val/acc", "epoch") == [
        Curve("a", 0, [(1, 50.0), (2, 75.0), (3, 62.5)], 1),
        Curve("b", 1, [(4, 25.0), (8, 50.0)], 0),
    ]
    assert curves(names, cards, "val/acc", "minutes") == [
        Curve("a", 0, [(1.0, 50.0), (2.0, 75.0), (3.0, 62.5)], 1),
        Curve("b", 1, [(0.5, 25.0), (1.0, 50.0)], 0),
        Curve("c", 2, [(1.0, 12.5), (2.0, 25.0)], None),
    ]
    assert [epochs_of(each) for each in cards] == [[1, 2, 3], [4, 8], None, None]
    text = make_page({f"logs/{name}": each for name, each in zip(names, cards, strict=True)})
    assert "The card of c does not tell in which epochs it was validated." in text
    assert "The card of d keeps no metric over time." in text
    assert text.count('class="chart"') == 2
    loss = card(1, over_time={"seconds": [60.0], "val/loss": [0.5]}, epochs=1)
    assert curves(["a"], [loss], "val/loss", "minutes")[0].points == [(1.0, 0.5)]


def test_points_lie_where_they_should():
    """The axes go from 0 to the last x, and a twentieth beyond the values; nan leaves a gap."""
    svg = chart([Curve("a", 0, [(1, 10.0), (2, NAN), (4, 30.0)], 2)], "epoch", "val/acc in percent")
    # 358 pixels from 50 for x from 0 to 4; 198 pixels from 210 upwards for y from 9 to 31.
    assert '<path class="curve" d="M139.5 201.0M408.0 21.0"/>' in svg
    assert svg.count('class="dot"') == 2
    assert svg.count('class="tested"') == 1
    assert '<circle class="tested" cx="408.0" cy="21.0" r="6"><title>a, epoch 4: 30</title>' in svg
    assert re.findall(r'text-anchor="middle">([\d.]+)<', svg) == ["0", "1", "2", "3", "4"]
    assert re.findall(r'text-anchor="end">([\d.]+)<', svg) == ["10", "15", "20", "25", "30"]


def test_plots_stand_side_by_side(tmp_path, card):
    """The curves first; of a series the last figure."""
    for run, epochs in (("a", (2, 10)), ("b", (2,))):
        for epoch in epochs:
            draw(tmp_path / run, f"drawn_{epoch:04d}.png")
        draw(tmp_path / run, "curves.png")
    draw(tmp_path / "a", "confusion.png")
    cards = {str(tmp_path / run): card(1) for run in "ab"}
    figures, earlier = find_figures(cards)
    assert {name: [path.name for path in runs.values()] for name, runs in figures.items()} == {
        "curves": ["curves.png", "curves.png"],
        "confusion": ["confusion.png"],
        "drawn": ["drawn_0010.png", "drawn_0002.png"],
    }
    assert list(figures) == ["curves", "confusion", "drawn"]
    assert earlier == 1
    text = make_page(cards)
    alt = [attributes["alt"] for tag, attributes in Page(text).elements if tag == "img"]
    assert alt == ["curves of a", "curves of b", "confusion of a", "drawn_0010 of a", "drawn_0002 of b"]
    assert "only the last plot is shown; left out: 1." in text


def sizes(text):
    """Width and height of the plots."""
    uris = [attributes["src"] for tag, attributes in Page(text).elements if tag == "img"]
    return [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size for uri in uris]


def test_large_plots_are_scaled_down_and_what_finds_no_room_is_named(tmp_path, card):
    """The heaviest are scaled first, those of one name alike; then the last are left out."""
    cards = {str(tmp_path / run): card(1) for run in "abc"}
    for run in "abc":
        draw(tmp_path / run, "curves.png", (1600, 800))
        draw(tmp_path / run, "noise.png", (1000, 700), noise=True)
    (tmp_path / "b/figures/curves.png").write_bytes(b"no figure")
    text = make_page(cards)
    assert LIMIT // 4 < len(text.encode()) <= LIMIT == 500_000
    (side,) = set(sizes(text)[2:])
    assert sizes(text) == [(1200, 600)] * 2 + [side] * 3
    assert side[0] < 1200
    assert f"Scaled down to so many pixels a side: noise to {side[0]}</p>" in text
    assert "Left out, since they cannot be read: b/figures/curves.png</p>" in text
    assert "has at most" not in text
    for number in range(4):
        for run in "bc":
            draw(tmp_path / run, f"x{number}.png", (350, 350), noise=True)
    text = make_page(cards)
    assert LIMIT // 2 < len(text.encode()) <= LIMIT
    said = re.search("Left out, since a page of 3 has at most 0.5 MB: (.*)</p>", text)[1].split(", ")
    last = [f"{run}/figures/x{number}.png" for number in range(4) for run in "bc"]
    assert 0 < len(said) < 8
    assert said == last[-len(said) :]
    assert len(sizes(text)) == 5 + 8 - len(said)


def test_the_command_prints_its_table_and_writes_the_page(tmp_path, card, capsys):
    logs = put(tmp_path / "logs", card(1), card(2))
    draw(logs / "any/version_1", "curves.png")
    compare(["--html", str(tmp_path / "new/runs.html"), str(logs)])
    said = capsys.readouterr().out
    assert "0.61" in said
    assert said.endswith(f"page: {tmp_path}/new/runs.html\n")
    text = (tmp_path / "new/runs.html").read_text()
    assert "<title>mnist_mlp: 2 runs</title>" in text
    assert 'alt="curves of version_1"' in text


def test_bad_input_is_refused_in_one_line(tmp_path, card):
    logs = put(tmp_path / "logs", card(1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    assert "no finished run at nowhere" in refused(tmp_path, "compare", "--html=a.html", "nowhere")
    assert "no finished run at empty" in refused(tmp_path, "compare", "--html=a.html", logs, "empty")
    assert "Not a directory: 'file/a.html" in refused(tmp_path, "compare", "--html=file/a.html", logs)
    assert "folder.html: Is a directory" in refused(tmp_path, "compare", "--html=folder.html", logs)
    run_card = logs / "any/version_0/run.json"
    assert f"--html {run_card}: the name of a page" in refused(tmp_path, "compare", f"--html={run_card}", logs)


def test_in_a_browser(tmp_path, card):
    """It obeys its own policy and fits a narrow window, and a click enlarges a plot."""
    cards = {str(tmp_path / run): card(1, over_time=over_time(0.5, 0.6), epochs=2) for run in ("a", 20 * "long_", "c")}
    for run in cards:
        draw(Path(run), "curves.png", (900, 600))
    file = tmp_path / "page.html"
    file.write_text(make_page(cards))

    async def look(port):
        async with tab(port, file.as_uri()) as page:
            width = "Math.round(document.images[0].getBoundingClientRect().width)"
            assert await page.js(width) < 400
            await page.js("document.querySelector('figure label').click()")
            assert await page.js(width) == 900
            await page.look(390, 800, dark=True)
            assert await page.js("document.documentElement.scrollWidth") == 390
            assert await page.js("getComputedStyle(document.body).color") == "rgb(236, 238, 242)"
            assert await page.js("performance.getEntriesByType('resource').length") == 0
            assert page.errors == []

    with chromium(tmp_path / "browser") as port:
        asyncio.run(look(port))
