"""Weights of several losses that are learned with the network."""

import torch
from torch import Tensor, nn


class UncertaintyWeighting(nn.Module):
    """Weighs losses by the noise that each task is found to have.

    L = sum_t exp(-s_t) L_t + s_t / 2 with s_t = log sigma_t^2 learned (Kendall, Gal and Cipolla 2018, "Multi-task
    learning using uncertainty to weigh losses", https://arxiv.org/abs/1705.07115, equation 10 for classification: L_t /
    sigma_t^2 + log sigma_t). At its least exp(-s_t) = 1 / (2 L_t): a task is weighed by the inverse of its loss. In
    float32, also under mixed precision.

    Args:
        num_losses: Number of losses; all weigh 1 at the start.
    """

    def __init__(self, num_losses: int) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(num_losses))

    @property
    def weights(self) -> Tensor:
        """The present weights (num_losses,)."""
        return (-self.log_variance.detach()).exp()

    def forward(self, losses: Tensor) -> Tensor:
        """Weigh losses (num_losses,), each in nats; a scalar."""
        return ((-self.log_variance).exp() * losses.float() + self.log_variance / 2).sum()
