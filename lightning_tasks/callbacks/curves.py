"""The course of a training run in one picture."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.callbacks.pictures import Picture, save_figure

History = dict[str, list[tuple[int, float]]]


class CurvesPicture(Picture):
    """Collects what is logged as `train/...`, `val/...` and `test_curve/...`, and draws it as `figures/curves.png`.

    The values are kept in checkpoints, so the picture of a resumed run shows the whole of it.
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
        if self.history:
            save_figure(trainer, draw_curves(self.history), "curves")

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


def draw_curves(history: History) -> Figure:
    """Draw one panel of losses and one of accuracies and other shares.

    Args:
        history: Points (epoch from 0, value) of each metric; those with "loss" in their name go into the first panel.
    """
    groups = [
        {name: points for name, points in history.items() if points and ("loss" in name) is is_loss}
        for is_loss in (True, False)
    ]
    panels = [group for group in groups if group]
    figure = Figure(figsize=(5.5 * len(panels), 4), layout="constrained")
    for axes, group in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, points in sorted(group.items()):
            epochs, values = zip(*points, strict=True)
            axes.plot(
                [epoch + 1 for epoch in epochs],
                values,
                marker="." if len(points) < 60 else None,
                label=f"{name} (last {values[-1]:.3g})",
            )
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure
