"""How varied synthetic images are, and how like those that a teacher was trained with."""

import math

import torch
from torch import Tensor

from lightning_tasks.data_free.generator_losses import BatchNormStatisticsLoss, SyntheticBatch, same_class_distance
from lightning_tasks.frozen_teacher import Observed


def class_entropy(counts: Tensor) -> float:
    """Compute the entropy of a class histogram as a share of the greatest possible, log(number of classes).

    Args:
        counts: Number of images of each class. Shape (num_classes,).

    Returns:
        1 if all classes are equally frequent, 0 if there is only one.
    """
    shares = counts.cpu().double() / counts.sum().item()
    return float(torch.special.entr(shares).sum() / math.log(len(counts)))


def pairwise_distance(x: Tensor) -> Tensor:
    """Compute the root of the mean squared difference of a value between two images, over all pairs of images.

    That is the root of twice the variance over images, averaged over values: independent images of unit variance are
    1.41 apart, equal ones 0.

    Args:
        x: Images (B, C, H, W), B at least 2.
    """
    return (2 * x.float().var(dim=0, correction=1).mean()).sqrt()


def measure(x: Tensor, logits_s: Tensor, seen: Observed) -> dict[str, Tensor]:
    """Measure a batch of synthetic images.

    Args:
        x: Images (B, C, H, W).
        logits_s: The student's answers (B, num_classes).
        seen: Predictions and features of the teacher for them.

    Returns:
        `agreement`, the share of equal classes, `pairwise_distance`; if the teacher has BatchNorm layers
        `statistics_distance`, and if its last layer is linear `same_class_distance`.
    """
    classes = seen.logits.argmax(dim=1)
    found = {
        "agreement": (logits_s.argmax(dim=1) == classes).float().mean(),
        "pairwise_distance": pairwise_distance(x),
    }
    if seen.statistics is not None:
        found["statistics_distance"] = BatchNormStatisticsLoss()(
            SyntheticBatch(x, logits_s, seen.logits, seen.statistics)
        )
    if seen.features is not None:
        found["same_class_distance"] = same_class_distance(seen.features, classes)
    return found
