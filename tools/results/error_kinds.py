"""Errors by kind, with and without a loss that knows how severe they are: a plot of the sweep cifar100_multitask."""

import statistics

from matplotlib.figure import Figure

from lightning_tasks.compare.cards import Card
from lightning_tasks.multi_task.error_kinds import DECISIONS, KINDS, draw_error_kinds
from tools.results.cards import by_group

LOSSES = ("plain", "scaled", "expected")
SUFFIXES = ("", "_crm")  # of metrics, for the decisions that are drawn


def draw(cards: list[Card]) -> Figure:
    """Draw two bars for each loss: of the most probable classes, and of those of least expected severity."""
    return draw_error_kinds(shares(cards), "wrong test images by kind of error (split 90:10, mean over seeds)")


def shares(cards: list[Card]) -> dict[str, tuple[float, float, float]]:
    """Work out the shares of all test images that are wrong in each way, as means over seeds, at the split 90:10.

    Args:
        cards: Any run cards; those of other experiments are skipped.

    Returns:
        The shares, in the order of KINDS, by "<loss>, <decision>"; nothing of a loss without any run.
    """
    found = {}
    for loss in LOSSES:
        runs = [card for card in cards if card["experiment"] == f"cifar100_multitask/90-10,{loss}"]
        if not runs:
            continue
        metrics = [card["metrics"] for card in max(by_group(runs), key=len)]
        for suffix in SUFFIXES:
            of_seeds = [[_share(each, kind, suffix) for kind in KINDS] for each in metrics]
            mild, middle, severe = map(statistics.mean, zip(*of_seeds, strict=True))
            found[f"{loss}, {DECISIONS[suffix]}"] = mild, middle, severe
    return found


def _share(metrics: dict[str, float], kind: str, suffix: str) -> float:
    """Turn a share of the errors into a share of all images."""
    return (1 - metrics[f"test/acc_fine{suffix}"]) * metrics[f"test/{kind}{suffix}"]
