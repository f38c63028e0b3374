"""Average pooling to a given size that is deterministic on a GPU."""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


class AveragePool2d(nn.AdaptiveAvgPool2d):
    """nn.AdaptiveAvgPool2d from operators whose backward pass is deterministic on a GPU, which its own is not.

    Args:
        output_size: Height and width of what is left of maps of any size.
    """

    output_size: int

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, output_size, output_size)."""
        return average_pool2d(x, self.output_size)


@fx.wrap  # since torch.fx cannot follow a choice by the size of the maps
def average_pool2d(x: Tensor, size: int) -> Tensor:
    """Average maps (B, C, H, W) over size x size areas of equal size, or nearly so where they do not fit."""
    height, width = x.shape[2:]
    if size == 1:
        return F.adaptive_avg_pool2d(x, 1)
    if height % size == 0 and width % size == 0:
        return F.avg_pool2d(x, (height // size, width // size))
    rows, columns = (_shares(length, size, x) for length in (height, width))
    return rows @ x @ columns.T


def _shares(length: int, size: int, like: Tensor) -> Tensor:
    """Say which share each of `length` places has in each of `size` averages. Shape (size, length)."""
    number = torch.arange(size, device=like.device)[:, None]
    place = torch.arange(length, device=like.device)
    inside = (place >= number * length // size) & (place < -(-(number + 1) * length // size))
    return inside.to(like.dtype) / inside.sum(dim=1, keepdim=True)
