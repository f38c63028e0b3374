"""Mean and variance of each channel, as BatchNorm computes them, with a gradient."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Statistics(NamedTuple):
    """Of what BatchNorm layers are given: those of a batch, and those that they have kept of their training images.

    The channels of all layers stand one after the other, C in all.

    Attributes:
        mean: Mean of each channel over the batch, shape (C,), float32.
        variance: Variance of each channel over the batch, shape (C,), float32.
        kept_mean: Shape (C,).
        kept_variance: Shape (C,).
        sizes: How many channels each layer has, in order.
    """

    mean: Tensor
    variance: Tensor
    kept_mean: Tensor
    kept_variance: Tensor
    sizes: Sequence[int]


class _ChannelStatistics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *layers: Tensor) -> tuple[Tensor, Tensor]:
        # The running statistics are asked for only so that half-precision values are summed in float32.
        kept = layers[0].new_zeros(
            max(x.shape[1] for x in layers), dtype=torch.promote_types(layers[0].dtype, torch.float32)
        )
        found = [torch.batch_norm_update_stats(x, kept[: x.shape[1]], kept[: x.shape[1]], 0.0) for x in layers]
        means, variances = zip(*found, strict=True)
        ctx.save_for_backward(*layers, *means)
        return torch.cat(means), torch.cat(variances)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> tuple[Tensor, ...]:
        # dL/dx = (dL/dmean + 2 (x - mean) dL/dvariance) / n: one line a channel in x, for all layers together.
        middle = len(ctx.saved_tensors) // 2
        layers, means = ctx.saved_tensors[:middle], ctx.saved_tensors[middle:]
        counts = [float(x.numel() // x.shape[1]) for x in layers]
        sizes = [x.shape[1] for x in layers]
        slopes = torch._foreach_div((2 * grad_variance).split(sizes), counts)
        offsets = torch._foreach_div(grad_mean.split(sizes), counts)
        torch._foreach_sub_(offsets, torch._foreach_mul(slopes, means))
        return tuple(
            torch.addcmul(offset.view(shape), x, slope.view(shape)).to(x.dtype)
            for x, offset, slope in zip(layers, offsets, slopes, strict=True)
            for shape in [(-1, *[1] * (x.ndim - 2))]
        )


def channel_statistics(*layers: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and the variance (divided by the number of values) of each channel over all else.

    `torch.var_mean` over the dimensions that are left, and autograd through it, gives the same: on a CPU it takes 10 to
    20 times as long on channels-last images, and several passes over the activations back.

    Args:
        *layers: Values (B, C, ...) of one or more layers, of any floating-point precision.

    Returns:
        Two tensors with the channels of all layers one after the other, in float32, or in float64 of such values.
    """
    return _ChannelStatistics.apply(*layers)
