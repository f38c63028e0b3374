"""Loss of a latent distribution."""

import torch
from torch import Tensor, nn


class LatentLoss(nn.Module):
    """Kullback-Leibler divergence of normal distributions from the standard one, per latent number, from a floor on.

    L = max(floor, -1/(2 N) sum(1 + log s^2 - m^2 - s^2)), the mean over the batch and the N latent numbers (Ha and Eck
    2018, https://arxiv.org/abs/1704.03477, equations 10 and 13). Below the floor nothing is gained by knowing still
    less of the drawing. Always in float32.

    Args:
        floor: Lower bound in nats; not negative.

    Raises:
        ValueError: If it is negative.
    """

    def __init__(self, floor: float = 0.2) -> None:
        super().__init__()
        if floor < 0:
            raise ValueError(f"floor must not be negative, got {floor}")
        self.floor = floor

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Compare means and logs of variances, both (B, N), with 0 and 1; a scalar in nats."""
        return divergence(mean, log_variance).clamp(min=self.floor)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the divergence without a floor; a scalar in nats per latent number."""
    mean, log_variance = mean.float(), log_variance.float()
    return (mean.square() + torch.expm1(log_variance) - log_variance).mean() / 2
