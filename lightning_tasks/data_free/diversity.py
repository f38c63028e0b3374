"""How varied synthetic images are."""

import math

import torch
from torch import Tensor


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
