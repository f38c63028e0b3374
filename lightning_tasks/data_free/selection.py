"""Plot checkpoint selection with and without real images."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pytorch_lightning import LightningModule, Trainer
from scipy.stats import spearmanr

from lightning_tasks.callbacks.plots import Plot, save_figure, subject
from lightning_tasks.callbacks.run_card import RunCard
from lightning_tasks.runs.plot_style import VERMILLION, styled
from lightning_tasks.runs.ranking import Ranking


class SelectionPlot(Plot):
    """Draws the agreement on synthetic images against the accuracy, a point a validation, as `figures/selection.png`.

    Works with data-free tasks that validate on images, which log `val/agreement_synthetic` and `val/acc`. Validations
    during the generator's pretraining, in which the student knows nothing, are left out.
    """

    needs = ("fake_class_counts", "generator_training")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw all validations of the run, those before a resume too."""
        cards = [each for each in trainer.callbacks if isinstance(each, RunCard)]  # type: ignore[attr-defined]
        found = [
            (each["epoch"] + 1, each["metrics"])
            for card in cards
            for each in card.validations
            if {"val/agreement_synthetic", "val/acc"} <= each["metrics"].keys()
            and each["epoch"] >= pl_module.generator_training.pretrain_epochs  # type: ignore[union-attr]
        ]
        if found:
            figure = draw_selection(*zip(*found, strict=True))
            figure.suptitle(f"{subject(trainer)}: checkpoints chosen with and without images")
            save_figure(trainer, figure, "val/selection")


@styled
def draw_selection(epochs: Sequence[int], validations: Sequence[Mapping[str, float]]) -> Figure:
    """Draw validations as points whose colour is the epoch, and name what either criterion would choose.

    Args:
        epochs: Epoch of each validation, from 1.
        validations: Their metrics: `val/agreement_synthetic`, the share of synthetic images to which student and
            teacher give the same class, which needs no image; `val/acc`; and the losses, which tell equals apart.
    """
    agreements, accuracies = ([each[name] for each in validations] for name in ("val/agreement_synthetic", "val/acc"))
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    points = axes.scatter(agreements, accuracies, c=epochs, cmap="viridis", s=36, zorder=2)
    figure.colorbar(points, label="epoch")
    criteria = (("val/acc", "by images", "s"), ("val/agreement_synthetic", "without images", "o"))
    for metric, name, marker in criteria:
        best = Ranking(metric, "max").best(validations)
        axes.plot(
            agreements[best],
            accuracies[best],
            marker,
            markersize=14,
            markerfacecolor="none",
            markeredgecolor=VERMILLION,
            markeredgewidth=1.5,
            linestyle="none",
            label=f"chosen {name}: epoch {epochs[best]}, {accuracies[best]:.1%} right",
        )
    varied = len(set(agreements)) > 1 and len(set(accuracies)) > 1
    correlation = f"{spearmanr(agreements, accuracies).statistic:.2f}" if varied else "not defined"
    axes.set(
        title=f"rank correlation over {len(epochs)} validations: {correlation}",
        xlabel="agreement with the teacher on synthetic images",
        ylabel="accuracy on validation images",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.grid()
    axes.legend(loc="best")
    return figure
