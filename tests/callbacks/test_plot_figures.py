"""What stands in the figures: each value in its place, each name where a reader finds it, nothing cut off."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.commands import few_fast
from helpers.plots import MANY, confused, labels, require_readable
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional as F

from lightning_tasks import BaseTask, ByHandTask, ClassificationTask, DFADTask, KDTask, MultiTask, SketchTask
from lightning_tasks.callbacks.activations import draw_activations
from lightning_tasks.callbacks.answers import calibration, calibration_error, draw_answers, draw_reliability
from lightning_tasks.callbacks.confusion import confusion_order, draw_confusion, worst_pairs
from lightning_tasks.callbacks.curves import Panel, draw_curves, panels
from lightning_tasks.callbacks.filters import draw_filters
from lightning_tasks.callbacks.plots import add_axes
from lightning_tasks.callbacks.tsne import draw_points, name_places
from lightning_tasks.data_free.plots import draw_generated, tiles
from lightning_tasks.runs.plot_style import BLUE, COLOURS, VERMILLION, save_plot

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


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


HISTORY = {  # epochs from 0
    "train/loss_student": [(0, 7.0), (1, 6.0), (2, 5.0)],
    "train/loss_generator": [(0, 1.0), (1, 3.0), (2, 2.0)],
    "train/class_entropy": [(0, 0.9), (1, 0.8), (2, 0.7)],
    "train/time_student": [(0, 0.5), (1, 0.25), (2, 0.75)],
    "train/agreement": [(0, 0.1), (1, 0.2), (2, 0.3)],
    "train/loss_one_hot": [(0, 1.0), (1, 0.5), (2, 0.25)],
    "val/acc": [(1, 0.4), (2, 0.3)],
    "val/agreement": [(1, 0.6), (2, 0.5)],
    "val/agreement_synthetic": [(1, 0.7), (2, 0.8)],
    "val/loss": [(1, 0.75), (2, 0.5)],
    "val/of_a_user": [(1, 0.125), (2, 0.25)],
}
TEACHER = {"val/acc_teacher": 0.875}


def lines(axes):
    """Points of each line with a label, by label."""
    labelled = (line for line in axes.get_lines() if not line.get_label().startswith("_"))
    return {
        line.get_label(): list(zip(*(map(float, each) for each in line.get_data()), strict=True)) for line in labelled
    }


class TestCurves:
    def test_what_a_user_watches_comes_in_order_and_the_rest_by_units(self):
        watched, others = panels([*HISTORY, *TEACHER], DFADTask)
        assert [(each.title, each.axis, [*each.lines]) for each in watched] == [
            ("accuracy on validation images", "%", ["val/acc", "val/acc_teacher"]),
            ("agreement with the teacher", "%", ["val/agreement", "val/agreement_synthetic", "train/agreement"]),
            ("loss of the student", "logits", ["train/loss_student"]),
            ("loss of the generator", "logits", ["train/loss_generator"]),
        ]
        assert [(each.title, each.axis, [*each.lines]) for each in others] == [
            ("synthetic images: classes", "entropy (1: all equal)", ["train/class_entropy"]),
            ("time of an epoch", "%", ["train/time_student"]),
            ("", "%", ["val/of_a_user"]),
            ("", "nats", ["train/loss_one_hot", "val/loss"]),
        ]

    def test_a_task_that_says_nothing_has_panels_by_units(self):
        watched, others = panels(["val/acc", "train/loss"], BaseTask)
        assert [(each.axis, [*each.lines]) for each in watched] == [("%", ["val/acc"]), ("nats", ["train/loss"])]
        assert others == []

    @pytest.mark.parametrize(
        ("task", "names", "first"),
        [
            (ClassificationTask, ["train/acc", "val/acc", "train/loss", "val/loss"], ["val/acc", "train/acc"]),
            (ByHandTask, ["train/loss_l2", "train/acc", "val/acc", "val/loss"], ["val/acc", "train/acc"]),
            (KDTask, ["train/loss", "val/acc", "val/agreement", "val/acc_teacher"], ["val/acc", "val/acc_teacher"]),
            (
                MultiTask,
                ["train/loss", "val/acc_group", "val/acc_fine", "val/severity"],
                ["val/acc_fine", "val/acc_group"],
            ),
            (SketchTask, ["train/loss", "val/pen_acc", "val/loss", "val/divergence"], ["val/loss", "train/loss"]),
        ],
    )
    def test_the_result_of_each_task_comes_first(self, task, names, first):
        assert [*panels(names, task)[0][0].lines] == first

    def test_values_and_the_mark_at_the_tested_epoch(self):
        watched, _ = panels([*HISTORY, *TEACHER], DFADTask)
        figure = draw_curves(HISTORY, TEACHER, watched, "a title", 1, "val/acc")
        assert figure.get_suptitle() == "a title"
        accuracy, agreement, student, generator = figure.axes
        assert [axes.get_title() for axes in figure.axes] == [each.title for each in watched]
        assert [axes.get_ylabel() for axes in figure.axes] == ["%", "%", "logits", "logits"]
        assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "epoch", "epoch"]
        assert accuracy.get_position().y0 > student.get_position().y0  # two columns
        assert accuracy.get_position().x0 == student.get_position().x0 < agreement.get_position().x0
        assert lines(accuracy) == {
            "student": [(2, 40.0), (3, 30.0)],  # epochs are counted from 1
            "teacher, on up to 1,000 of them": [(0, 87.5), (1, 87.5)],  # over the whole width
            "epoch 2: 40.0 %": [(2, 40.0)],
        }
        assert lines(agreement) == {
            "validation images": [(2, 60.0), (3, 50.0)],
            "synthetic images, held out": [(2, 70.0), (3, 80.0)],
            "synthetic images, one batch": [(1, 10.0), (2, 20.0), (3, 30.0)],
        }
        assert student.get_legend() is None
        assert student.get_lines()[0].get_ydata().tolist() == [7, 6, 5]
        assert generator.get_lines()[0].get_ydata().tolist() == [1, 3, 2]
        for axes in figure.axes:
            assert [2, 2] in [list(line.get_xdata()) for line in axes.get_lines() if line.get_linestyle() == ":"]
        require_readable(figure, 1200, 10)

    @pytest.mark.parametrize("columns", [2, 3])
    def test_legends_cover_no_curve_no_title_and_no_other_panel(self, columns):
        watched, others = panels([*HISTORY, *TEACHER], DFADTask)
        group = [*watched, *others][:4] if columns == 2 else [*watched, *others]
        figure = draw_curves(HISTORY, TEACHER, group, "a title", 1, "val/acc")
        require_readable(figure, 1200, 10)
        legends = [(axes, axes.get_legend()) for axes in figure.axes if axes.get_legend()]
        assert legends
        for axes, legend in legends:
            panel, box = axes.get_window_extent(), legend.get_window_extent()
            assert box.y0 >= panel.y1
            assert panel.x0 - 1 <= box.x0
            assert box.x1 <= panel.x1 + 10
            if axes.get_title():
                assert axes.title.get_window_extent().y0 >= box.y1 - 4  # of the room around its letters

    def test_lines_of_one_panel_differ(self):
        names = {f"val/{number}": f"{number}" for number in range(20)}
        history = {name: [(0, 1.0), (1, 0.5)] for name in names}
        axes = draw_curves(history, {}, [Panel("", "nats", names)], "a").axes[0]
        assert len({(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}) == 20

    def test_no_mark_where_no_epoch_was_chosen(self):
        (panel,), _ = panels(["train/loss"], ClassificationTask)
        figure = draw_curves({"train/loss": [(0, 1.0), (1, 0.5)]}, {}, [panel], "a", None, "train/loss")
        assert lines(figure.axes[0]) == {"training": [(1, 1.0), (2, 0.5)]}
        assert len(figure.axes[0].get_lines()) == 1

    @pytest.mark.parametrize("count", few_fast({"1", "5"}, [1, 2, 3, 4, 5, 7, 8, 12]))
    def test_size_in_pixels_and_axes_of_epochs(self, count, tmp_path):
        group = [Panel(f"title {number}", "nats", {"val/loss": "validation"}) for number in range(count)]
        figure = draw_curves(HISTORY, {}, group, "a title", 1)
        save_plot(figure, tmp_path / "a.png", dpi=120)
        width, height = Image.open(tmp_path / "a.png").size
        assert width <= 1200
        assert height <= 870  # and a line of letters that says whose it is
        drawn = [axes for axes in figure.axes if axes.axison]
        assert len(drawn) == count
        columns = {round(axes.get_position().x0, 3) for axes in drawn}
        assert (
            len([axes for axes in drawn if axes.get_xlabel() == "epoch"])
            == len(columns)
            == (3 if count > 6 else min(count, 2))
        )


class TestGenerated:
    @staticmethod
    def rows_of(figure):
        """Brightness of each image in each row, by the name beside the row; white where there is none."""
        found = {}
        for axes in figure.axes[::2]:  # beside each its bars
            picture = np.asarray(axes.images[0].get_array())
            names, centres = labels(axes.yaxis), axes.get_yticks()
            bottom, top = axes.images[0].get_extent()[2:]
            assert axes.get_ylim() == (bottom, top)
            height = len(picture) / (bottom - top)
            for name, centre in zip(names, centres, strict=True):
                line = picture[round((centre - top) * height)]
                assert len(line) % 7 == 0  # images of 5 pixels width, and a pixel on each side
                found[name] = line[3::7].round(4).tolist()
        return found

    @pytest.mark.parametrize(("num_classes", "blocks", "columns"), [(3, 1, 8), (30, 2, 4)])
    def test_an_image_is_in_the_row_of_its_class(self, num_classes, blocks, columns):
        values = torch.arange(12) / 16
        images = values.view(12, 1, 1, 1).expand(12, 1, 3, 5)
        seen = torch.tensor([0, 2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])  # ten of class 0, none of class 1, two of class 2
        seen[seen == 2] = num_classes - 1
        counts = (torch.arange(num_classes) * 7 + 5) % 31  # neither in order nor equal
        names = [f"name {label}" for label in range(num_classes)]
        sure = torch.linspace(0.5, 0.9, 12)
        rest = (1 - sure[:, None]) / (num_classes - 1)
        probabilities = torch.where(F.one_hot(seen, num_classes) == 1, sure[:, None], rest)
        figure = draw_generated(images, probabilities, counts, names, "a title")
        assert len(figure.axes) == 2 * blocks
        said = [text.get_text() for axes in figure.axes[1::2] for text in axes.texts]
        last = [1, 4]
        first = [index for index in range(12) if index not in last]
        assert said == [f"{sure[first].mean():.0%}", *[""] * (num_classes - 2), f"{sure[last].mean():.0%}"]
        rows = self.rows_of(figure)
        assert list(rows) == names
        for label, name in enumerate(names):
            shown = values[seen == label][:columns].tolist()
            assert rows[name] == shown + [1.0] * (columns - len(shown))
        said = [text.get_position()[1] for axes in figure.axes for text in axes.texts if text.get_text() == "none"]
        assert len(said) == num_classes - 2
        bars = [bar.get_width() for axes in figure.axes[1::2] for bar in axes.patches]
        assert bars == pytest.approx((counts / counts.sum()).tolist())
        for axes in figure.axes[1::2]:
            (line,) = axes.lines  # where all classes would be equally frequent
            assert list(line.get_xdata()) == pytest.approx([1 / num_classes] * 2)
            assert axes.get_xlim()[1] >= max(bars)
        assert figure.get_suptitle() == "a title"

    @pytest.mark.parametrize("names", [CIFAR10, MANY], ids=len)
    def test_colours_and_size(self, names):
        images = torch.rand(20, 3, 32, 32)
        seen = torch.arange(20) % 7
        title = "CIFAR100 student after epoch 500: synthetic images by predicted class\n"
        title += "the first of 512, predicted by the teacher"
        figure = draw_generated(
            images, F.one_hot(seen, len(names)).float(), torch.zeros(len(names), dtype=torch.long), names, title
        )
        require_readable(figure, *(() if len(names) <= 10 else (1200, 5)))
        tile = np.asarray(figure.axes[0].images[0].get_array())[1:33, 1:33]
        assert np.allclose(tile, images[0].permute(1, 2, 0))


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
            assert text.get_path_effects()[0]._gc == {"linewidth": 2, "foreground": "white"}  # readable on any colour
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


def test_tiles_lie_side_by_side_in_rows_without_gaps():
    """Three classes, with more images than columns, fewer, and none; each image is of one number."""
    numbers = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 2, 4) / 10
    made = tiles([numbers[:4], numbers[4:5], numbers[:0]], columns=2)
    assert made.shape == (3, 6, 8)
    torch.testing.assert_close(made[1, ::2, ::4], torch.tensor([[0, 0.1], [0.4, 1], [1, 1]]))
    assert torch.equal(made[:, :2, :4], numbers[0])
    assert torch.equal(made[:, 2:4, :4], numbers[4])
