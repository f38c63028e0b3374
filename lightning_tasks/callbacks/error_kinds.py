"""How severe the errors of the test are, for each way to decide on a class."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.callbacks.pictures import Picture, add_axes, save_figure

DECISIONS = {"": "argmax", "_tree": "respecting the tree", "_crm": "least expected severity"}
KINDS = {"same_super": "same superclass", "same_group": "same group", "across": "across groups"}
COLOURS = (("#fddc8b", "black"), ("#f28e3d", "black"), ("#a81c24", "white"))  # of each kind and of the number on it
SIZE = 9.0  # of letters, in points


class ErrorKindsPicture(Picture):
    """Draws what share of the test images is wrong and how severely, as `figures/errors.png`, a bar for each decision.

    Works with tasks that log `test/acc_fine`, `test/same_super`, `test/same_group` and `test/across` for the decisions
    of MultiTask.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a task that measures no kinds of errors before a long run."""
        if not hasattr(pl_module, "level_names"):
            raise ValueError(
                f"ErrorKindsPicture needs a task of several levels, as MultiTask; got {type(pl_module).__name__}"
            )

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the shares of the test that has just ended."""
        measured = {name: value.item() for name, value in trainer.callback_metrics.items()}
        rows = {}
        for suffix, decision in DECISIONS.items():
            wrong = 1 - measured[f"test/acc_fine{suffix}"]
            mild, middle, severe = (wrong * measured[f"test/{kind}{suffix}"] if wrong else 0.0 for kind in KINDS)
            rows[decision] = mild, middle, severe
        save_figure(trainer, draw_error_kinds(rows, "wrong answers by severity"), "errors")


def draw_error_kinds(rows: Mapping[str, tuple[float, float, float]], title: str) -> Figure:
    """Draw a bar for each row, stacked of the kinds of errors from mild to severe.

    Args:
        rows: Of each name the shares of all images, in [0, 1], that are wrong within the superclass, within the group
            but not the superclass, and across groups.
        title: Above all.
    """
    # All in inches: the names, the bars; below them their axis, above the legend and the title.
    beside, wide, high = 0.25 + max(map(len, rows)) * SIZE / 125, 5.0, 0.42 * len(rows)
    figure = Figure(figsize=(beside + wide + 0.2, high + 1.15))
    axes = add_axes(figure, beside, 0.55, wide, high)
    longest = 100 * max(map(sum, rows.values())) or 1.0
    starts = [0.0] * len(rows)
    for index, (kind, (colour, ink)) in enumerate(zip(KINDS.values(), COLOURS, strict=True)):
        shares = [100 * row[index] for row in rows.values()]
        axes.barh(range(len(rows)), shares, left=starts, height=0.72, color=colour, label=kind)
        for row, (start, share) in enumerate(zip(starts, shares, strict=True)):
            number = f"{share:.1f}"
            if share / longest * wide > (len(number) + 1) * SIZE / 125:
                axes.text(start + share / 2, row, number, ha="center", va="center", color=ink, size=SIZE)
        starts = [start + share for start, share in zip(starts, shares, strict=True)]
    axes.set_yticks(range(len(rows)), list(rows), size=SIZE)
    axes.set(xlim=(0, 1.02 * longest), ylim=(len(rows) - 0.5, -0.5), xlabel="share of all test images (%)")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(KINDS), fontsize=SIZE, frameon=False, borderaxespad=0.2
    )
    figure.suptitle(title, size=11)
    return figure
