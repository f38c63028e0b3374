"""Early stopping by a metric that has few values."""

import math
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping

from lightning_tasks.runs.ranking import Rank, Ranking


class TieAwareEarlyStopping(EarlyStopping):
    """Early stopping to which an equal metric with a lower loss is an improvement, as it is to the best checkpoint.

    To Lightning's own, a validation accuracy that stays at 98.6 % has not improved, however much the loss falls.

    Args:
        monitor: Metric, as `val/acc`; see Ranking for the loss behind it.
        **options: Of Lightning's EarlyStopping.
    """

    def __init__(self, monitor: str, **options: Any) -> None:
        super().__init__(monitor, **options)
        self.ranking = Ranking(monitor, self.mode)
        self.best_rank: Rank = (-math.inf, -math.inf)

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        if self.monitor in trainer.callback_metrics:
            rank = self.ranking.rank(trainer.callback_metrics)
            if rank[0] == self.best_rank[0] and rank[1] > self.best_rank[1]:
                self.wait_count = -1  # which Lightning's check makes 0
            self.best_rank = max(rank, self.best_rank)
        super()._run_early_stopping_check(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Give what Lightning's keeps, and the best rank."""
        return super().state_dict() | {"best_rank": self.best_rank}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up again."""
        super().load_state_dict(state_dict)
        self.best_rank = state_dict["best_rank"]
