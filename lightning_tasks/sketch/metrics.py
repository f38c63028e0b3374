"""How sketches compare with drawings: how long they are, whether they are copies, how much of the variety they have."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from lightning_tasks.drawings.collection import of_steps
from lightning_tasks.drawings.duplicates import POINTS, descriptors
from lightning_tasks.drawings.steps import Pen

Scores = dict[str, float | Tensor]


class StepEvaluation(nn.Module):
    """Counts how well the next step is foreseen, given the true ones before it: real steps only."""

    def __init__(self) -> None:
        super().__init__()
        self.pens = MulticlassConfusionMatrix(len(Pen), sync_on_compute=False)
        self.offset = MeanMetric(sync_on_compute=False)
        self.pen = MeanMetric(sync_on_compute=False)

    def update(self, offset: Tensor, logits: Tensor, pens: Tensor) -> None:
        """Take in scores of offsets (K,), logits of the pen (N, 3) and its true states (N,)."""
        self.offset.update(offset)
        self.pen.update(F.cross_entropy(logits, pens, reduction="none"))
        self.pens.update(logits, pens)

    @property
    def loss(self) -> Tensor:
        """Mean score of an offset and mean cross-entropy of the pen, added."""
        return self.offset.compute() + self.pen.compute()

    def metrics(self) -> dict[str, Tensor]:
        """Give the means and the shares of right states of the pen: of all steps, and the mean over the states."""
        counts = self.pens.compute().float()
        seen = counts.sum(dim=1) > 0
        return {
            "loss_offset": self.offset.compute(),
            "loss_pen": self.pen.compute(),
            "pen_acc": counts.trace() / counts.sum(),
            "pen_acc_balanced": (counts.diagonal()[seen] / counts.sum(dim=1)[seen]).mean(),
        }


def lengths_and_ends(sketches: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> Scores:
    """Compute the share of sketches without an END, and mean numbers of steps, END left out.

    Args:
        sketches: Steps (N, 3) of each.
        real: Steps (N, 3) of real drawings, which have no END.
    """
    ended = [len(each) > 0 and each[-1, 2] == Pen.END for each in sketches]
    steps = [len(each) - end for each, end in zip(sketches, ended, strict=True)]
    return {
        "endless": 1 - float(np.mean(ended)),
        "steps": float(np.mean(steps)),
        "steps_real": float(np.mean([len(each) for each in real])),
    }


def novelty(sketches: Sequence[np.ndarray], real: Sequence[np.ndarray], train: Sequence[np.ndarray]) -> Scores:
    """Compute the median distance from the nearest training drawing, of sketches and of real drawings.

    Args:
        sketches: Steps (N, 3) of each.
        real: Steps (N, 3) of each held-out drawing.
        train: Steps (N, 3) of each training drawing.

    Returns:
        `novelty`, `novelty_real`: root mean square distance of the points of two paths, see
        drawings.duplicates.descriptors, as a share of a drawing's longer side; 0 for copies.
    """
    known = cKDTree(descriptors(of_steps(train)))
    names = {"novelty": sketches, "novelty_real": real}
    return {
        name: float(np.median(known.query(descriptors(of_steps(some)))[0]) / POINTS**0.5)
        for name, some in names.items()
    }


def precision_recall(real: Tensor, made: Tensor, k: int = 3) -> Scores:
    """Compute which share of what was made looks real, and which share of what is real could have been made.

    A point is inside a set if it is no further from some point of it than that one's k-th nearest neighbour in the set.
    Kynkaanniemi et al. 2019, "Improved Precision and Recall Metric", https://arxiv.org/abs/1904.06991, equations 1, 2.

    Args:
        real: Features of real samples. Shape (N, D).
        made: Features of made ones. Shape (M, D).
        k: Less than N and M.
    """
    return {"precision": _share_inside(made, real, k), "recall": _share_inside(real, made, k)}


def _share_inside(points: Tensor, others: Tensor, k: int) -> float:
    radius = torch.cdist(others, others).kthvalue(min(k + 1, len(others)), dim=1).values  # the nearest is itself
    return float((torch.cdist(points, others) <= radius).any(dim=1).float().mean())
