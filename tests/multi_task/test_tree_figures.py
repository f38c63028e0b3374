"""What stands in the figures of a tree of classes: each block in its frame, each name beside it, nothing cut off."""

from itertools import groupby

import numpy as np
import pytest
import torch
from helpers.plots import MANY, confused, labels, require_readable
from helpers.tree_data import ABOVE, GROUP, SUPER
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

from lightning_tasks.callbacks.answers import draw_bands
from lightning_tasks.callbacks.confusion import draw_confusion, levels_above, tree_order
from lightning_tasks.callbacks.tsne import draw_points
from lightning_tasks.multi_task.error_kinds import draw_error_kinds
from lightning_tasks.runs.plot_style import VERMILLION

ROWS = {"argmax": (0.2, 0.11, 0.05), "respecting the tree": (0.1, 0.002, 0.25), "none": (0.0, 0.0, 0.0)}


class TestConfusion:
    def test_levels_of_many_classes_are_framed_and_named(self):
        counts = confused(MANY)
        near = [f"superclass {index % 7}" for index in range(100)]
        far = [("a", "b", "b", "long name", "a", "b", "b")[index % 7] for index in range(100)]
        figure = draw_confusion(counts, MANY, [near, far])
        require_readable(figure, 1200, 5)
        axes = figure.axes[0]
        rows = labels(axes.yaxis)
        assert labels(axes.xaxis) == rows
        shares = counts / counts.sum(axis=1, keepdims=True)
        index = [MANY.index(name) for name in rows]
        assert np.allclose(axes.images[0].get_array(), np.sqrt(shares[np.ix_(index, index)]))
        drawn = list(zip(axes.patches, axes.texts, strict=True))
        for level, number, placed, colour in ((near, 7, drawn[:7], VERMILLION), (far, 3, drawn[7:], "black")):
            runs = [(name, len(list(run))) for name, run in groupby(level[number] for number in index)]
            assert len(runs) == number  # each stands together
            assert [text.get_text() for _, text in placed] == [name for name, _ in runs]
            start = 0
            for (_, size), (frame, text) in zip(runs, placed, strict=True):
                assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((start - 0.5,) * 2, size, size)
                assert to_hex(frame.get_edgecolor()) == to_hex(colour)
                assert text.xy[1] == start + size / 2 - 0.5
                start += size
        for line, (frame, _) in zip(axes.lines, drawn[7:], strict=True):  # beside a name of the farther level
            top, bottom = line.get_ydata()
            assert frame.get_y() < top < bottom < frame.get_y() + frame.get_height()
            assert top + bottom == pytest.approx(2 * frame.get_y() + frame.get_height())
        edges = [[box.x0, box.x1] for box in (text.get_window_extent() for _, text in drawn)]
        beside = min(line.get_window_extent().x0 for line in axes.lines)
        assert axes.get_window_extent().x1 < min(left for left, _ in edges[:7])
        assert max(right for _, right in edges[:7]) < beside < min(left for left, _ in edges[7:])
        assert max(right for _, right in edges[7:]) < figure.texts[0].get_window_extent().x0
        assert "groups of classes are framed" in axes.get_title()

    def test_one_level_of_many_classes(self):
        groups = [f"group {index % 7}" for index in range(100)]
        figure = draw_confusion(confused(MANY), MANY, [groups])
        axes = figure.axes[0]
        found = [groups[MANY.index(name)] for name in labels(axes.yaxis)]
        runs = [(name, len(list(run))) for name, run in groupby(found)]
        assert sorted(runs) == [("group 0", 15), ("group 1", 15), *((f"group {number}", 14) for number in range(2, 7))]
        assert [
            (text.get_text(), frame.get_height()) for text, frame in zip(axes.texts, axes.patches, strict=True)
        ] == runs
        assert {to_hex(frame.get_edgecolor()) for frame in axes.patches} == {to_hex(VERMILLION)}
        assert not axes.lines
        require_readable(figure, 1200, 5)
        assert figure.texts[0].get_window_extent().x0 > max(text.get_window_extent().x1 for text in axes.texts)

    def test_few_classes_are_framed_and_have_their_shares(self):
        counts = np.array([[6, 1, 3, 0], [0, 5, 0, 0], [2, 0, 8, 0], [0, 3, 0, 1]])
        figure = draw_confusion(counts, ["ant", "oak", "bee", "fir"], [["insect", "tree", "insect", "tree"]])
        axes = figure.axes[0]
        order = labels(axes.yaxis)
        assert order in (["ant", "bee", "oak", "fir"], ["oak", "fir", "ant", "bee"])
        names = [text for text in axes.texts if isinstance(text, Annotation)]
        start = order.index("ant")
        places = {"insect": start + 0.5, "tree": 2.5 - start}
        assert {text.get_text(): text.xy[1] for text in names} == places
        assert [frame.get_xy() for frame in axes.patches] == [(-0.5, -0.5), (1.5, 1.5)]
        assert {to_hex(frame.get_edgecolor()) for frame in axes.patches} == {to_hex("black")}
        cells = {
            tuple(order[int(at)] for at in reversed(text.get_position())): text.get_text()
            for text in axes.texts
            if not isinstance(text, Annotation)
        }
        insects = {("ant", "ant"): "60", ("ant", "bee"): "30", ("bee", "ant"): "20", ("bee", "bee"): "80"}
        trees = {("oak", "oak"): "100", ("fir", "oak"): "75", ("fir", "fir"): "25"}
        assert cells == {**insects, **trees, ("ant", "oak"): "10"}
        assert axes.get_title() == "network: test accuracy 68.97% (cells in %, groups are framed)"  # 20 of 29

    def test_groups_that_are_confused_stand_together(self):
        """Of three groups the first and the last by name are confused with each other."""
        groups = ["c", "a", "b", "c", "a", "b"]
        counts = 20 * np.eye(6, dtype=int)
        counts[0, 4] = counts[4, 3] = 9  # of c for a, of a for c
        counts[2, 5] = 30  # inside b: of no matter
        order = tree_order(counts, [groups]).tolist()
        assert order in ([0, 3, 1, 4, 2, 5], [1, 4, 0, 3, 2, 5], [2, 5, 0, 3, 1, 4], [2, 5, 1, 4, 0, 3])

    def test_order_on_two_levels(self):
        """Of x, y and z, x and z are confused; of p, q and r in x, p and r, though p is more often taken for v in z."""
        near = ["p", "q", "r", "u", "v", "p", "w", "r"]
        far = ["x", "x", "x", "y", "z", "x", "z", "x"]
        counts = 20 * np.eye(8, dtype=int)
        counts[0, 2] = counts[7, 5] = 5  # p for r, r for p
        counts[0, 4] = counts[4, 5] = 15  # p for v, v for p
        order = tree_order(counts, [near, far]).tolist()
        assert [key for key, _ in groupby(far[index] for index in order)] in (
            ["y", "x", "z"],
            ["y", "z", "x"],
            ["x", "z", "y"],
            ["z", "x", "y"],
        )
        inner = [near[index] for index in order if far[index] == "x"]
        assert inner in (list("pprrq"), list("rrppq"), list("qpprr"), list("qrrpp"))
        assert order.index(0) < order.index(5)
        assert order.index(2) < order.index(7)
        assert sorted(order) == list(range(8))

    def test_levels_above_a_level(self):
        assert levels_above(["cat", "tree", "shell", "insect", "flower"], [SUPER, GROUP]) == [ABOVE]
        assert levels_above(["plant", "beast", "small"], [SUPER, GROUP]) == []
        assert levels_above(["p", "q"], [["p", "q", "p"], ["one", "p", "one"], ["all"] * 3]) == [
            ["one", "p"],
            ["all"] * 2,
        ]
        assert levels_above(["one", "p"], [["p", "q", "p"], ["one", "p", "one"], ["all"] * 3]) == [["all"] * 2]
        assert levels_above(["a", "b"], []) == []


class TestErrorKinds:
    def test_bars_are_stacked_from_mild_to_severe(self):
        figure = draw_error_kinds(ROWS, "a title")
        require_readable(figure)
        (axes,) = figure.axes
        legend = [text.get_text() for text in axes.get_legend().get_texts()]
        assert legend == ["same superclass", "same group", "across groups"]
        starts = [(0, 0, 0), (20, 10, 0), (31, 10.2, 0)]
        widths = [(20, 10, 0), (11, 0.2, 0), (5, 25, 0)]
        for bars, name, left, wide in zip(axes.containers, legend, starts, widths, strict=True):
            assert bars.get_label() == name
            assert [bar.get_x() for bar in bars] == pytest.approx(left)
            assert [bar.get_width() for bar in bars] == pytest.approx(wide)
            assert [bar.get_y() + bar.get_height() / 2 for bar in bars] == pytest.approx([0, 1, 2])
        assert labels(axes.yaxis) == list(ROWS)
        bottom, top = axes.get_ylim()
        assert top < 0 < 2 < bottom  # the first row is above
        assert axes.get_xlim()[0] == 0
        assert axes.get_xlim()[1] >= 36
        said = {text.get_text(): text.get_position() for text in axes.texts}
        places = {"20.0": (10, 0), "11.0": (25.5, 0), "5.0": (33.5, 0), "10.0": (5, 1), "25.0": (22.7, 1)}
        assert said == {number: pytest.approx(place) for number, place in places.items()}  # 0.2 has no room
        assert len({to_hex(bars[0].get_facecolor()) for bars in axes.containers}) == 3
        assert axes.get_xlabel() == "share of all test images (%)"
        assert figure.get_suptitle() == "a title"

    def test_names_and_numbers_have_room(self):
        names = [f"{name}, with a loss of severity" for name in ROWS]
        rows = {name: (0.01 * (index + 1), 0.02, 0.3) for index, name in enumerate(names)}
        figure = draw_error_kinds(rows, "a title")
        require_readable(figure, 600)
        (axes,) = figure.axes
        drawn = [bar.get_window_extent() for bars in axes.containers for bar in bars]
        for box in (text.get_window_extent() for text in axes.texts):
            assert any(bar.x0 <= box.x0 and box.x1 <= bar.x1 and bar.y0 <= box.y0 and box.y1 <= bar.y1 for bar in drawn)


def test_bands():
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 3, 4, 5) * 20
    answers = [(MANY[i], MANY[99 - i], 0.04 * i) for i in range(12)]
    named = {"first": slice(0, 2), "second": slice(2, 12)}
    figure = draw_bands([(name, images[part], answers[part]) for name, part in named.items()], "a title")
    require_readable(figure, 1200, 5)
    assert figure.get_suptitle() == "a title"
    assert [part.get_suptitle() for part in figure.subfigs] == list(named)
    for band, part in zip(figure.subfigs, named.values(), strict=True):
        shown = [axes for axes in band.axes if axes.images]
        assert [axes.images[0].get_array()[0, 0, 0] for axes in shown] == [20 * i for i in range(12)][part]
        assert [axes.get_title() for axes in shown] == [true for true, _, _ in answers[part]]
        assert [axes.get_xlabel() for axes in shown] == [f"{said} {p:.0%}" for _, said, p in answers[part]]
        assert not any(axes.axison for axes in band.axes if not axes.images)
    sizes = [axes.get_window_extent().height for axes in figure.axes if axes.images]
    assert max(sizes) < 1.1 * min(sizes)  # an image is as large in each band


def test_many_classes_have_the_colours_of_their_groups():
    labels_of = np.arange(100)
    points = np.stack([labels_of % 10, labels_of // 10], axis=1).astype(float)
    groups = [f"group {7 * index % 20}" for index in range(100)]
    axes = draw_points(points, labels_of, MANY, "a title", groups).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == groups[:20]
    for name, cloud in zip(groups[:20], axes.collections, strict=True):
        assert cloud.get_offsets().tolist() == points[[its == name for its in groups]].tolist()
    looks = {(to_hex(each.get_facecolor()[0]), each.get_paths()[0].vertices.tobytes()) for each in axes.collections}
    assert len(looks) == 20
    assert [text.get_text() for text in axes.texts] == MANY
    assert "a group of classes has one colour" in axes.get_title()
    few = draw_points(points[:2], labels_of[:2], ["ant", "bee"], "a title", ["insect", "insect"]).axes[0]
    assert [text.get_text() for text in few.get_legend().get_texts()] == ["ant", "bee"]
