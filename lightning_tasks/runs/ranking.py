"""Which of several validations is the best, also where a metric of few images makes them equal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Rank = tuple[float, float]
WORST: Rank = -math.inf, -math.inf
SHARES = ("acc", "agreement")  # what is counted over images, so that it has few values


class Ranking:
    """Orders validations by a metric, and equals by their loss; of those that are equal in both, the later is the best.

    The loss behind `val/acc_ema` is `val/loss_ema` if there is one, else `val/loss`.

    Args:
        monitor: The metric.
        mode: Whether the best is its least ("min") or greatest ("max") value.
    """

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor = monitor
        self.sign = 1.0 if mode == "max" else -1.0
        stage, _, quantity = monitor.partition("/")
        share = next((each for each in SHARES if quantity.startswith(each)), None)
        self.losses = [f"{stage}/loss{quantity.removeprefix(share)}", f"{stage}/loss"] if share else []

    def rank(self, metrics: Mapping[str, Any]) -> Rank:
        """Give what grows with quality; nan is worse than any number.

        Args:
            metrics: Metrics of a validation, as numbers or tensors of one; must hold the monitored one.
        """
        loss = next((metrics[name] for name in self.losses if name in metrics), 0.0)
        metric, negative_loss = self.sign * float(metrics[self.monitor]), -float(loss)
        return (
            -math.inf if math.isnan(metric) else metric,
            -math.inf if math.isnan(negative_loss) else negative_loss,
        )

    def best(self, validations: Sequence[Mapping[str, Any]]) -> int:
        """Give the place of the best in a sequence by time."""
        ranks = [self.rank(each) for each in validations]
        return len(ranks) - 1 - ranks[::-1].index(max(ranks))
