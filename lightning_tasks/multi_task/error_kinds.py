"""How severe the errors of the test are, for each way to decide on a class."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer

from lightning_tasks.callbacks.bars import draw_stacked_bars
from lightning_tasks.callbacks.plots import Plot, save_figure, subject

DECISIONS = {"": "argmax", "_tree": "respecting the tree", "_crm": "least expected severity"}
KINDS = {"same_super": "same superclass", "same_group": "same group", "across": "across groups"}
COLOURS = (("#fddc8b", "black"), ("#f28e3d", "black"), ("#a81c24", "white"))  # of each kind and of the number on it


class ErrorKindsPlot(Plot):
    """Draws what share of the test images is wrong and how severely, as `figures/errors.png`, a bar for each decision.

    Works with tasks that log `test/acc_fine`, `test/same_super`, `test/same_group` and `test/across` for the decisions
    of MultiTask.
    """

    needs = ("level_names",)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the shares of the test that has just ended."""
        measured = {name: value.item() for name, value in trainer.callback_metrics.items()}
        rows = {}
        for suffix, decision in DECISIONS.items():
            wrong = 1 - measured[f"test/acc_fine{suffix}"]
            mild, middle, severe = (wrong * measured[f"test/{kind}{suffix}"] if wrong else 0.0 for kind in KINDS)
            rows[decision] = mild, middle, severe
        save_figure(trainer, draw_error_kinds(rows, f"{subject(trainer)}: wrong answers by severity"), "test/errors")


def draw_error_kinds(rows: Mapping[str, tuple[float, float, float]], title: str) -> Figure:
    """Draw a bar for each row, stacked of the kinds of errors from mild to severe.

    Args:
        rows: For each name the shares of all images, in [0, 1], that are wrong within the superclass, within the group
            but not the superclass, and across groups.
        title: Above all.
    """
    percent = {name: [(100 * share, f"{100 * share:.1f}") for share in shares] for name, shares in rows.items()}
    kinds = dict(zip(KINDS.values(), COLOURS, strict=True))
    return draw_stacked_bars(percent, kinds, title, "share of all test images (%)")
