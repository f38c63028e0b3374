"""The picture of sketches, looked at through what matplotlib was told."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lightning_tasks import RegressionHead, SketchNetwork, SketchTask
from lightning_tasks.runs.formatting import is_share
from lightning_tasks.runs.plot_style import BLUE
from lightning_tasks.sketch.plots import SketchPlot, draw_sketches

WIDE = [np.array([[0, 0], [100, 0], [100, 50]], np.float32), np.array([[20, 10], [30, 10]], np.float32)]
TALL = [np.array([[5, 5], [5, 205]], np.float32)]


def test_each_drawing_fills_its_cell():
    rows = [([WIDE, TALL], [(TALL, WIDE)]), ([TALL, []], [])]
    figure = draw_sketches(["cat", "bus"], rows, "after epoch 3", 0.4)
    (axes,) = figure.axes
    assert figure.get_suptitle() == "after epoch 3, temperature 0.4"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "bus"]
    assert axes.get_ylim() == (2, 0)  # the first word above
    drawn = [(lines.get_segments(), to_rgb(lines.get_color()[0])) for lines in axes.collections]
    colours = [colour for _, colour in drawn]
    assert colours[:4] == [to_rgb(name) for name in ("black", "black", "grey", BLUE)]
    # 100 units wide become 0.88 of a cell, around its middle: scale 0.0088.
    first, second = drawn[0][0]
    np.testing.assert_allclose(first, [[0.06, 0.28], [0.94, 0.28], [0.94, 0.72]], atol=1e-6)
    np.testing.assert_allclose(second, [[0.236, 0.368], [0.324, 0.368]], atol=1e-6)
    np.testing.assert_allclose(drawn[1][0][0], [[1.5, 0.06], [1.5, 0.94]], atol=1e-6)
    np.testing.assert_allclose(drawn[2][0][0], [[3.0, 0.06], [3.0, 0.94]], atol=1e-6)  # after a gap of half a cell
    np.testing.assert_allclose(drawn[3][0][0][:, 0], [3.56, 4.44, 4.44], atol=1e-6)
    np.testing.assert_allclose(drawn[4][0][0], [[0.5, 1.06], [0.5, 1.94]], atol=1e-6)
    assert drawn[5][0] == []


def test_picture_refuses_nothing_to_show():
    with pytest.raises(ValueError, match=r"num_sketches .* at least 1, got 0, 25"):
        SketchPlot(num_sketches=0)


def test_units_of_curves():
    facts = {"dataset": "QuickDraw", "words": ("cat", "bus"), "max_length": 9, "parts": ""}
    task = SketchTask(facts, lambda words: SketchNetwork(words, RegressionHead))
    assert task.units == {"loss_offset": "squared std", "loss_offset_reconstruct": "squared std"}
    for name in ("val/nll", "val/divergence", "test/steps_real", "val/loss_pen"):
        assert not is_share(name)
    for name in ("test/recognised", "val/pen_acc", "test/endless", "test/novelty"):
        assert is_share(name)
