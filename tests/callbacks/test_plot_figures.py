"""What stands in the figures: each value in its place, each name where a reader finds it, nothing cut off."""

from itertools import pairwise
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers.plots import CIFAR10, MANY, confused, labels, require_readable
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import IdentityTransform

from lightning_tasks.callbacks.activations import draw_activations
from lightning_tasks.callbacks.answers import calibration, calibration_error, draw_answers, draw_reliability
from lightning_tasks.callbacks.confusion import confusion_order, draw_confusion, worst_pairs
from lightning_tasks.callbacks.filters import draw_filters
from lightning_tasks.callbacks.plots import add_axes
from lightning_tasks.callbacks.tsne import draw_points, name_places
from lightning_tasks.runs.plot_style import BLUE, COLOURS, VERMILLION


class TestConfusion:
    def test_few_classes_keep_their_order_and_have_their_shares_written_in(self):
        counts = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
        figure = draw_confusion(counts, ["cat", "dog", "eel"], of="digits network")
        axes = figure.axes[0]
        shares = np.array([[0.8, 0.2, 0], [0.25, 0.75, 0], [0, 0, 0]])
        assert np.allclose(axes.images[0].get_array(), np.sqrt(shares))
        assert labels(axes.xaxis) == labels(axes.yaxis) == ["cat", "dog", "eel"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
        cells = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}  # (column, row)
        assert cells == {(0, 0): "80", (1, 0): "20", (0, 1): "25", (1, 1): "75"}
        assert axes.get_title() == "digits network: test accuracy 78.57% (cells in %)"
        listed = figure.texts[0].get_text()
        assert listed.splitlines()[3:] == ["   2  cat -> dog", "   1  dog -> cat"]

    def test_a_rare_mistake_is_not_shown_as_none(self):
        axes = draw_confusion(np.array([[995, 5], [1, 189]]), ["a", "b"]).axes[0]  # shares of exactly 0.5 %, and above
        assert [text.get_text() for text in axes.texts] == ["100", "<1", "1", "99"]

    def test_many_classes_have_their_names_on_both_axes_of_their_cells(self):
        counts = confused(MANY)
        figure = draw_confusion(counts, MANY)
        axes = figure.axes[0]
        rows, columns = labels(axes.yaxis), labels(axes.xaxis)
        assert rows == columns
        assert sorted(rows) == sorted(MANY)
        shares = counts / counts.sum(axis=1, keepdims=True)
        index = [MANY.index(name) for name in rows]
        assert np.allclose(axes.images[0].get_array(), np.sqrt(shares[np.ix_(index, index)]))
        assert figure.texts[0].get_text().splitlines()[3:] == worst_pairs(counts, MANY, 42)

    def test_order_brings_together_what_is_confused(self):
        counts = 20 * np.eye(6, dtype=int)
        for true, predicted in ((0, 4), (3, 1), (5, 2)):
            counts[true, predicted] = 9  # in one direction only
        order = confusion_order(counts).tolist()
        assert sorted(order) == [0, 1, 2, 3, 4, 5]
        assert sorted(sorted(order[at : at + 2]) for at in (0, 2, 4)) == [[0, 4], [1, 3], [2, 5]]

    def test_worst_pairs(self):
        counts = np.array([[90, 3, 0], [7, 90, 3], [0, 1, 90]])
        assert worst_pairs(counts, ["a", "b", "c"], 3) == ["   7  b -> a", "   3  a -> b", "   3  b -> c"]
        assert len(worst_pairs(counts, ["a", "b", "c"], 9)) == 4  # as many as there are

    @pytest.mark.parametrize("names", [["0", "1", "2"], CIFAR10, MANY[:20], MANY], ids=len)
    def test_names_and_list_fit(self, names):
        figure = draw_confusion(confused(names), names)
        require_readable(figure, *(() if len(names) <= 10 else (1200, 5)))
        axes = figure.axes[0]
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))
        assert figure.texts[0].get_window_extent().x0 > axes.get_window_extent().x1


class TestActivations:
    def test_rows_and_columns(self):
        images = torch.tensor([0.0, 2.0, 4.0]).view(3, 1, 1, 1).expand(3, 1, 2, 3)
        maps = {"first": torch.arange(36.0).view(3, 2, 2, 3), "second": -torch.arange(12.0).view(3, 1, 2, 2)}
        answers = [("ant", "ant"), ("bee", "cat"), ("cat", "cat")]
        figure = draw_activations(images, answers, maps, "after epoch 7")
        grid = np.array(figure.axes).reshape(3, 4)
        columns = [images[:, 0] / 4, maps["first"][:, 0], maps["first"][:, 1], maps["second"][:, 0]]
        for column, pictures in enumerate(columns):
            for row in range(3):
                shown = grid[row, column].images[0]
                assert np.allclose(shown.get_array(), pictures[row])
                assert shown.get_clim() == pytest.approx((pictures.min().item(), pictures.max().item()))
        assert [axes.get_title(loc="left").strip() for axes in grid[0]] == ["input", "first", "", "second"]
        assert [axes.get_title().strip() for axes in grid[0]] == ["", "0", "1", "0"]
        said = [(axes.get_ylabel(), axes.yaxis.label.get_color()) for axes in grid[:, 0]]
        assert said == [
            ("true ant\npredicted ant", "black"),
            ("true bee\npredicted cat", VERMILLION),
            ("true cat\npredicted cat", "black"),
        ]
        assert figure.get_suptitle() == "after epoch 7"
        require_readable(figure)

    def test_many_layers_stand_below_each_other(self):
        images = torch.rand(2, 1, 4, 4)
        maps = {f"layer {channels}": torch.rand(2, channels, 3, 3) for channels in (3, 1, 2)}
        figure = draw_activations(images, [("ant", "ant"), ("bee", "cat")], maps, "after epoch 7")
        for part, (name, output) in zip(figure.subfigs, maps.items(), strict=True):
            grid = np.array(part.axes).reshape(2, 4)
            assert [axes.get_title(loc="left").strip() for axes in grid[0, :2]] == ["input", name]
            for row, channel in np.ndindex(2, output.shape[1]):
                assert np.allclose(grid[row, 1 + channel].images[0].get_array(), output[row, channel])
            assert not any(axes.images for axes in grid[:, 1 + output.shape[1] :].flat)
            assert "bee" in grid[1, 0].get_ylabel()
        require_readable(figure)

    def test_colour_images_and_long_names(self):
        images = torch.rand(5, 3, 8, 8)
        maps = {"network.layer1": torch.rand(5, 4, 8, 8), "network.layer2": torch.rand(5, 4, 4, 4)}
        figure = draw_activations(images, [("sweet_pepper", "aquarium_fish")] * 5, maps, "after epoch 100")
        require_readable(figure, 600)
        assert np.asarray(figure.axes[0].images[0].get_array()).shape == (8, 8, 3)


class TestPoints:
    def test_a_class_has_its_colour_and_its_name(self):
        points = np.arange(14.0).reshape(7, 2)
        labels_of = np.array([2, 0, 0, 1, 2, 0, 2])
        figure = draw_points(points, labels_of, ["ant", "bee", "cat"], "a title")
        axes = figure.axes[0]
        colours = set()
        for label, (name, cloud) in enumerate(zip(["ant", "bee", "cat"], axes.collections, strict=True)):
            assert cloud.get_label() == name
            assert cloud.get_offsets().tolist() == points[labels_of == label].tolist()
            colours.add(tuple(cloud.get_facecolor()[0]))
        assert len(colours) == 3
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ant", "bee", "cat"]
        assert axes.get_title() == "a title"
        require_readable(figure)

    def test_twenty_classes_differ_in_colour_or_marker(self):
        points = np.arange(40.0).reshape(20, 2)
        clouds = draw_points(points, np.arange(20), MANY[:20], "a title").axes[0].collections
        looks = {(to_hex(each.get_facecolor()[0]), each.get_paths()[0].vertices.tobytes()) for each in clouds}
        assert len(looks) == 20
        assert {colour.upper() for colour, _ in looks} == set(COLOURS)

    def test_many_classes_are_named_where_they_are(self):
        random = np.random.default_rng(0)
        labels_of = random.permutation(np.repeat(np.arange(1, 100), 10))  # none of the first class
        points = 9 * np.stack([labels_of % 10, labels_of // 10], axis=1) + random.normal(size=(990, 2))
        figure = draw_points(points, labels_of, MANY, "a title")
        axes = figure.axes[0]
        assert axes.get_legend() is None
        assert "its name on a point" in axes.get_title()
        assert [text.get_text() for text in axes.texts] == MANY[1:]
        for label, text in enumerate(axes.texts, start=1):
            assert list(text.get_position()) in points[labels_of == label].tolist()
            pen = Mock(new_gc=GraphicsContextBase, points_to_pixels=float)
            text.get_path_effects()[0].draw_path(pen, GraphicsContextBase(), Path([(0, 0)]), IdentityTransform(), None)
            outline = pen.draw_path.call_args_list[0].args[0]
            assert (outline.get_linewidth(), outline.get_rgb()) == (2, (1, 1, 1, 1))  # readable on any colour
        assert len({tuple(cloud.get_facecolor()[0]) for cloud in axes.collections[1:]}) == 99
        require_readable(figure, 1200, 6)

    def test_names_keep_away_from_each_other_and_from_outliers(self):
        points = np.array([[0.0, 0], [0, 1], [0, 2], [0, 90], [0, 0.1], [0, 1.1], [0, 2.1], [0, 99]])
        places = name_places(points, np.array([0, 0, 0, 0, 1, 1, 1, 1]))
        assert places[0].tolist() == [0, 1]  # the middle
        assert places[1].tolist() == [0, 2.1]  # of the two nearest to the middle, the one farther from the other name


def test_order_of_classes_goes_by_shares():
    """Of two classes a hundred times as frequent as the others, too."""
    counts = confused([str(label) for label in range(8)])
    sizes = np.array([100, 1, 1, 100, 1, 1, 1, 1])[:, None]
    assert confusion_order(counts * sizes).tolist() == confusion_order(counts).tolist()


def test_axes_are_placed_in_inches():
    axes = add_axes(Figure(figsize=(8, 4)), 1, 2, 4, 1)
    assert axes.get_position().bounds == pytest.approx((1 / 8, 2 / 4, 4 / 8, 1 / 4))


class TestAnswers:
    def test_each_image_has_its_answer(self):
        images = torch.arange(11, dtype=torch.uint8).view(11, 1, 1, 1).expand(11, 3, 4, 5) * 20
        answers = [(CIFAR10[i % 10], CIFAR10[i % 3], 0.5 + 0.04 * i) for i in range(11)]
        figure = draw_answers(images, answers, "a title")
        shown = [axes for axes in figure.axes if axes.images]
        assert [axes.images[0].get_array()[0, 0, 0] for axes in shown] == [20 * i for i in range(11)]
        assert [axes.get_title() for axes in shown] == [true for true, _, _ in answers]
        assert [axes.get_xlabel() for axes in shown] == [f"{said} {share:.0%}" for _, said, share in answers]
        colours = [BLUE if true == said else VERMILLION for true, said, _ in answers]
        assert [axes.xaxis.label.get_color() for axes in shown] == colours
        assert figure.get_suptitle() == "a title"

    def test_names_of_a_hundred_classes_fit(self):
        names = [(MANY[i], MANY[-1 - i], 1.0) for i in range(32)]
        require_readable(draw_answers(torch.zeros(32, 1, 8, 8, dtype=torch.uint8), names, "a title"), 1200, 5)

    def test_calibration_by_hand(self):
        """Four bins: too unsure, too sure, empty, too unsure; 1 belongs to the last."""
        confidence = torch.tensor([0.1, 0.3, 0.4, 0.25, 1.0, 0.8])
        right = torch.tensor([True, False, False, False, True, True])
        counts, accuracy, mean = calibration(confidence, right, 4)
        assert counts.tolist() == [1, 3, 0, 2]
        assert accuracy.tolist() == pytest.approx([1, 0, 0, 1])
        assert mean.tolist() == pytest.approx([0.1, 0.95 / 3, 0, 0.9])
        error = (0.9 + 0.95 + 0 + 2 * 0.1) / 6
        assert calibration_error(counts, accuracy, mean) == pytest.approx(error)
        figure = draw_reliability(counts, accuracy, mean, "MNIST network")
        upper, lower = figure.axes
        assert [bar.get_height() for bar in upper.patches] == pytest.approx(accuracy.tolist())
        assert [bar.get_height() for bar in lower.patches] == pytest.approx([1 / 6, 1 / 2, 0, 1 / 3])
        assert upper.lines[0].get_xydata().ravel().tolist() == pytest.approx([0.1, 1, 0.95 / 3, 0, 0.9, 1])
        assert upper.get_title() == f"MNIST network: expected calibration error {error:.2%}"
        require_readable(figure)


class TestFilters:
    def test_grey_is_zero_and_each_has_its_own_scale(self):
        weights = torch.tensor([[0.0, 1.0], [-2.0, 2.0]]).view(2, 1, 1, 2)
        axes = [axes for axes in draw_filters(weights, "a title").axes if axes.images]
        assert [each.images[0].get_array().tolist() for each in axes] == [[[0.5, 1.0]], [[0.0, 1.0]]]

    def test_other_channels_are_averaged(self):
        weights = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3)
        assert draw_filters(weights, "").axes[0].images[0].get_array().shape == (2, 3)
        assert draw_filters(torch.rand(9, 3, 3, 3), "").axes[0].images[0].get_array().shape == (3, 3, 3)
