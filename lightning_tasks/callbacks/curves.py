"""The course of a training run: what a user watches in one plot, what tells why a run went wrong in another."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.base import BaseTask
from lightning_tasks.callbacks.plots import Plot, save_figure, subject
from lightning_tasks.runs.checkpoints import BestCheckpoint
from lightning_tasks.runs.formatting import is_share
from lightning_tasks.runs.plot_style import BLACK, styled

History = dict[str, list[tuple[int, float]]]
STAGES = ("train/", "val/", "test_curve/")
WIDTH, HEIGHT = 9.5, 6.9  # inches at most: 1,200 x 900 pixels with what stands around them


class Panel(NamedTuple):
    """A chart of metrics over the epochs.

    Attributes:
        title: Title; empty if the names of the lines say it.
        axis: Unit of the values; shares are in percent.
        lines: Name of each metric in the legend; empty for a line that the title names.
    """

    title: str
    axis: str
    lines: dict[str, str]


class CurvesPlot(Plot):
    """Collects what is logged as `train/...`, `val/...` and `test_curve/...`, and draws it at the end of training.

    `figures/curves.png` has what the task says a user watches, the result first, and a mark at the epoch whose
    checkpoint is tested; `figures/diagnostics.png` the rest. The values are kept in checkpoints, so the plots of a
    resumed run show the whole of it.
    """

    def __init__(self) -> None:
        self.history: History = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what this validation measured."""
        if not trainer.sanity_checking:
            self._collect(trainer, ("val/", "test_curve/"))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what this epoch measured."""
        self._collect(trainer, ("train/",))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if not self.history:
            return
        task = cast(BaseTask, pl_module)
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        tested = next((each.best_epoch for each in callbacks if isinstance(each, BestCheckpoint)), None)
        epochs = trainer.current_epoch
        title = f"{subject(trainer)}, {epochs} epoch{'s' * (epochs != 1)}"
        if tested is not None:
            title += f"; dotted: epoch {tested + 1}, the tested one"
        watched, others = panels([*self.history, *task.constants], task)
        result = next(iter(watched[0].lines))
        for name, group, kind in (("curves", watched, "training"), ("diagnostics", others, "diagnostics")):
            if group:
                figure = draw_curves(self.history, task.constants, group, f"{kind} of {title}", tested, result)
                save_figure(trainer, figure, name)

    def _collect(self, trainer: Trainer, stages: tuple[str, ...]) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith(stages):
                self.history.setdefault(name, []).append((trainer.current_epoch, value.item()))

    def state_dict(self) -> dict[str, Any]:
        """Give the values to a checkpoint."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the values up again."""
        self.history = state_dict["history"]


def panels(names: Collection[str], task: BaseTask) -> tuple[list[Panel], list[Panel]]:
    """Sort metrics into what a user of a task watches, and the rest, whose further panels have a unit each.

    Args:
        names: Names of the logged metrics.
        task: Says which belong together, and their units.
    """
    watched, others = (
        [
            Panel(title, axis_of(next(iter(there)), task.units), there)
            for title, lines in charts.items()
            if (there := {name: label for name, label in lines.items() if name in names})
        ]
        for charts in (task.watched, task.diagnosed)
    )
    placed = {name for panel in (*watched, *others) for name in panel.lines}
    left: dict[str, dict[str, str]] = {}
    for name in sorted(set(names) - placed):
        left.setdefault(axis_of(name, task.units), {})[name] = name
    others += [Panel("", axis, left[axis]) for axis in sorted(left)]
    return (watched, others) if watched else (others, [])


def axis_of(name: str, units: Mapping[str, str]) -> str:
    """Give what stands at the axis of a metric `<stage>/<quantity>`."""
    quantity = name.partition("/")[2]
    if quantity in units:
        return units[quantity]
    return "%" if is_share(quantity) else "nats"


@styled
def draw_curves(
    history: History,
    constants: Mapping[str, float],
    panels: list[Panel],
    title: str,
    tested: int | None = None,
    result: str | None = None,
) -> Figure:
    """Draw panels in two columns, more than six in three, with one axis of epochs.

    Args:
        history: Points (epoch from 0, value) of each metric.
        constants: Value of each metric that is the same in all epochs.
        panels: At least one.
        title: Above all.
        tested: The epoch, from 0, whose checkpoint is tested, if there is one.
        result: The metric whose value is marked at that epoch.
    """
    columns = 3 if len(panels) > 6 else min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH * min(2, columns) / 2, min(HEIGHT, 0.4 + 2.9 * rows)), layout="constrained")
    figure.suptitle(title)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel, history, constants)
        if tested is not None:
            axes.axvline(tested + 1, color="grey", linewidth=1, linestyle=":")
            if result in panel.lines:
                _mark(axes, panel, history.get(result, []), tested)
        _head(axes, panel.title, WIDTH / columns)
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.tick_params(labelbottom=True)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _draw_panel(axes: Axes, panel: Panel, history: History, constants: Mapping[str, float]) -> None:
    factor = 100 if panel.axis == "%" else 1
    for name, label in panel.lines.items():
        if name in constants:
            axes.axhline(factor * constants[name], color=BLACK, linewidth=1, linestyle="--", label=label or None)
        else:
            epochs, values = zip(*history[name], strict=True)
            marker = "." if len(epochs) < 60 else None
            points = [epoch + 1 for epoch in epochs], [factor * value for value in values]
            axes.plot(*points, marker=marker, label=label or "_")
    axes.set(ylabel=panel.axis)
    axes.grid()


def _mark(axes: Axes, panel: Panel, points: list[tuple[int, float]], tested: int) -> None:
    """Mark the value of a validation metric at the tested epoch, if it was measured then."""
    for value in (value for epoch, value in points if epoch == tested):
        share = panel.axis == "%"
        label = f"validation, epoch {tested + 1}: " + (f"{100 * value:.1f} %" if share else f"{value:.3g}")
        height = 100 * value if share else value
        axes.plot([tested + 1], [height], "o", markersize=9, color=BLACK, fillstyle="none", label=label)


def _head(axes: Axes, title: str, width: float) -> None:
    """Put title and legend above a panel of a width in inches, where they cover no curve."""
    labels = axes.get_legend_handles_labels()[1]
    columns = max(1, int((width - 0.7) / (0.45 + 0.062 * max(map(len, labels), default=0))))
    if labels:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=8, borderaxespad=0.1)
    axes.set_title(title, pad=5 + 12.5 * -(-len(labels) // columns))
