"""The figure of the curves."""

import pytest
from helpers.commands import few_fast
from helpers.plots import require_readable
from PIL import Image

from lightning_tasks import BaseTask, ByHandTask, ClassificationTask, DFADTask, KDTask, MultiTask, SketchTask
from lightning_tasks.callbacks.curves import Panel, draw_curves, panels
from lightning_tasks.runs.plot_style import save_plot

HISTORY = {  # epochs from 0
    "train/loss_student": [(0, 7.0), (1, 6.0), (2, 5.0)],
    "train/loss_generator": [(0, 1.0), (1, 3.0), (2, 2.0)],
    "train/class_entropy": [(0, 0.9), (1, 0.8), (2, 0.7)],
    "train/time_share_student": [(0, 0.5), (1, 0.25), (2, 0.75)],
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
            ("synthetic images: classes", "entropy (1: uniform)", ["train/class_entropy"]),
            ("time of an epoch", "%", ["train/time_share_student"]),
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
            "validation, epoch 2: 40.0 %": [(2, 40.0)],
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

    def test_one_epoch_has_one_tick(self):
        (panel,), _ = panels(["train/loss"], ClassificationTask)
        axes = draw_curves({"train/loss": [(0, 1.0)]}, {}, [panel], "a").axes[0]
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]

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
