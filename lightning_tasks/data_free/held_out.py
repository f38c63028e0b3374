"""Student and teacher on synthetic images of held-out noise: an evaluation that reads no real image."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lightning_tasks.runs.ranking import Ranking

HELD_OUT_BATCHES = 4  # on which a student is compared with its teacher beside the validation images
WITHOUT_IMAGES = Ranking("val/agreement_synthetic", "max")


class HeldOutEvaluation(nn.Module):
    """How far a student agrees with its teacher; every device evaluates all batches.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.agreement = MulticlassAccuracy(num_classes, average="micro", sync_on_compute=False)
        self.divergence = MeanMetric(nan_strategy="disable", sync_on_compute=False)

    def reset(self) -> None:
        """Start counting anew."""
        self.agreement.reset()
        self.divergence.reset()

    def update(self, logits_s: Tensor, logits_t: Tensor) -> None:
        """Take in the answers of student and teacher to a batch, both (B, num_classes)."""
        self.agreement.update(logits_s, logits_t.argmax(dim=1))
        answers, wanted = (each.float().log_softmax(dim=1) for each in (logits_s, logits_t))
        self.divergence.update(F.kl_div(answers, wanted, reduction="batchmean", log_target=True), len(logits_s))

    def compute(self) -> dict[str, Tensor]:
        """Give `agreement`, the share of equal classes, and `loss`, the Kullback-Leibler divergence in nats."""
        return {"agreement": self.agreement.compute(), "loss": self.divergence.compute()}


def would_choose(found: Mapping[str, Tensor], best: Mapping[str, float] | None) -> bool:
    """Say whether a choice without images would take these weights rather than the best so far.

    Args:
        found: `val/agreement_synthetic` and `val/loss_synthetic`.
        best: The same of the best so far, if there is one.
    """
    return not best or WITHOUT_IMAGES.rank(found) >= WITHOUT_IMAGES.rank(best)
