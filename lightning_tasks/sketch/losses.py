"""Loss of a latent distribution."""

import torch
from torch import Tensor


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the Kullback-Leibler divergence of normal distributions from the standard one, in float32.

    -1/(2 N) sum(1 + log s^2 - m^2 - s^2), the mean over the batch and the N latent numbers (Ha and Eck 2018,
    https://arxiv.org/abs/1704.03477, equation 10).

    Args:
        mean: Means. Shape (B, N).
        log_variance: Logarithms of variances. Shape (B, N).

    Returns:
        A scalar in nats per latent number.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return (mean.square() + torch.expm1(log_variance) - log_variance).mean() / 2
