"""Exponential moving averages of networks."""

import itertools

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class AveragedNetwork(AveragedModel):
    """An exponential moving average of a network's weights and statistics.

    After each step, average = decay * average + (1 - decay) * weights (Polyak and Juditsky 1992, in the exponential
    form of Tarvainen and Valpola 2017, https://arxiv.org/abs/1703.01780); after the first, it is the weights. PyTorch's
    own gives the same, but reads its counter on the host at each update, and so waits for a GPU.

    Args:
        network: Network to be averaged; it is copied.
        decay: Decay of the average, in (0, 1).
        option: Name of the option that gives the decay, for the error message.

    Raises:
        ValueError: If the decay is out of range.
    """

    def __init__(self, network: nn.Module, decay: float, option: str) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"{option} must be in (0, 1), got {decay}")
        super().__init__(network, use_buffers=True)
        self.requires_grad_(False)
        self.decay = decay
        self._starts: bool | None = None  # unknown until the counter, which a checkpoint may bring, is read once

    def restart(self) -> None:
        """Forget the past: after the next update the average is what it follows."""
        self.n_averaged.zero_()
        self._starts = True

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Follow the network by a step."""
        if self._starts is None:
            self._starts = self.n_averaged.item() == 0
        (ours, our_counts), (theirs, their_counts) = _tensors(self.module), _tensors(model)
        if len(their_counts) < len(our_counts):  # BatchCounts hides those on which nothing depends
            our_counts, their_counts = [], []
        if self._starts:
            torch._foreach_copy_(ours + our_counts, theirs + their_counts)
        else:
            torch._foreach_lerp_(ours, theirs, 1 - self.decay)
            if our_counts:
                sums = torch._foreach_mul(our_counts, self.decay)
                torch._foreach_add_(sums, torch._foreach_mul(their_counts, 1 - self.decay))
                torch._foreach_copy_(our_counts, sums)
        self._starts = False
        self.n_averaged += 1


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Give weights and statistics, and apart from them what is counted in integers."""
    tensors = [each.detach() for each in itertools.chain(network.parameters(), network.buffers())]
    return [each for each in tensors if each.is_floating_point()], [
        each for each in tensors if not each.is_floating_point()
    ]
