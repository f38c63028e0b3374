"""Counting the batches of BatchNorm layers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

PLAIN = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


class BatchCounts:
    """Counts the batches of all BatchNorm layers of a network together.

    Each BatchNorm layer increments a counter of its own in every forward pass, one kernel each on a GPU. With a numeric
    `momentum`, no running statistic depends on it.

    Args:
        network: Network whose layers leave the counting to this object inside `together`.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._passes = 0

    def add(self) -> None:
        """Take in a pass of the network in training mode."""
        self._passes += 1

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hide the counters from the layers; at the end add the passes to all of them."""
        counters = {
            each: each.num_batches_tracked
            for each in self._network.modules()
            if isinstance(each, PLAIN) and each.training and each.momentum is not None
            if each.num_batches_tracked is not None
        }
        self._passes = 0
        for each in counters:
            each.num_batches_tracked = None
        try:
            yield
        finally:
            for each, counter in counters.items():
                each.num_batches_tracked = counter
            if counters:
                torch._foreach_add_([*counters.values()], self._passes)
