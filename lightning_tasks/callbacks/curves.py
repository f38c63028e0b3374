"""The course of a training run in one picture."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.callbacks.pictures import Picture, save_figure
from lightning_tasks.callbacks.run_card import RunCard
from runs.checkpoints import BestCheckpoint
from runs.figures import is_share

if TYPE_CHECKING:
    from lightning_tasks import BaseTask

History = dict[str, list[tuple[int, float]]]


class CurvesPicture(Picture):
    """Collects what is logged as `train/...`, `val/...` and `test_curve/...`, and draws it as `figures/curves.png`.

    The values are kept in checkpoints, so the picture of a resumed run shows the whole of it. A line marks the epoch
    whose checkpoint is tested.
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
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        title = next((each.experiment for each in callbacks if isinstance(each, RunCard)), "")
        tested = next((each.best_epoch for each in callbacks if isinstance(each, BestCheckpoint)), None)
        units = cast("BaseTask", pl_module).units
        save_figure(trainer, draw_curves(self.history, title, tested, units), "curves")

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


def draw_curves(history: History, title: str, tested: int | None, units: Mapping[str, str]) -> Figure:
    """Draw panels with one axis of epochs: losses by their units, shares, the class entropy, times.

    Args:
        history: Points (epoch from 0, value) of each metric `<stage>/<quantity>`.
        title: Above all.
        tested: The epoch, from 0, whose checkpoint is tested, if there is one.
        units: Of quantities that are no shares and not in nats.
    """
    panels: dict[str, History] = {}
    for name, points in sorted(history.items(), key=lambda item: _panel(item[0], units)[0]):
        if points:
            panels.setdefault(_panel(name, units)[1], {})[name] = points
    figure = Figure(figsize=(6.4, 0.8 + 1.9 * len(panels)), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (label, group) in zip(grid, panels.items(), strict=True):
        for name, points in sorted(group.items()):
            epochs, values = zip(*points, strict=True)
            marker = "." if len(points) < 60 else None
            axes.plot([epoch + 1 for epoch in epochs], values, marker=marker, label=f"{name} (last {values[-1]:.3g})")
        if tested is not None:
            axes.axvline(tested + 1, color="black", linewidth=1, linestyle="--", label=f"tested: epoch {tested + 1}")
        axes.set(ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    grid[-1].set(xlabel="epoch")
    grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _panel(name: str, units: Mapping[str, str]) -> tuple[tuple[int, str], str]:
    """Give the place of a metric's panel among the others, and what stands at its axis."""
    quantity = name.partition("/")[2]
    if "entropy" in quantity:
        return (2, ""), "class entropy (1: all equal)"
    if quantity.startswith("time_"):
        return (3, ""), "share of the time"
    if is_share(quantity):
        return (1, ""), "share"
    unit = units.get(quantity, "nats")
    return (0, unit), unit if quantity in units and "loss" not in quantity else f"loss ({unit})"
