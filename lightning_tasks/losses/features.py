"""How far the features of a student are from its teacher's."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_tasks.networks.selection import evenly


class FeatureLoss(nn.Module):
    """Squared distance of a student's features from its teacher's, relative to their size.

    Mean over layers of |f_s - f_t|^2 / |f_t|^2: the hints of Romero et al. 2015, "FitNets",
    https://arxiv.org/abs/1412.6550, equation 3, at many layers as Li et al. 2020, "Few sample knowledge distillation
    for efficient network compression", https://arxiv.org/abs/1812.01839, do. Where a student's layer is narrower, its
    channels stand for evenly chosen ones of the teacher's, with which it may have started, see select_weights; so it
    takes no layers between the two.

    Args:
        layers: Names of modules that both networks have.
        weight: With which it enters the student's loss; positive.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, layers: Sequence[str], weight: float = 50.0) -> None:
        super().__init__()
        if not layers:
            raise ValueError("feature_loss: layers must name at least one")
        if weight <= 0:
            raise ValueError(f"feature_loss: weight must be positive, got {weight}")
        self.layers = list(layers)
        self.weight = weight

    def forward(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """Compute the loss; its gradient is the student's.

        Args:
            student: Outputs (B, C, ...) by the name of their layer.
            teacher: The same of the teacher, (B, D, ...) with D >= C.

        Returns:
            A scalar in float32.

        Raises:
            ValueError: If the student has more channels in a layer, or other positions.
        """
        pairs = []
        for layer in self.layers:
            ours, theirs = student[layer].float(), teacher[layer].float()
            if ours.shape[1] > theirs.shape[1] or ours.shape[2:] != theirs.shape[2:]:
                raise ValueError(
                    f"feature_loss: {layer} gives {tuple(ours.shape[1:])} in the student, which is no part of the"
                    f" teacher's {tuple(theirs.shape[1:])}"
                )
            if ours.shape[1] < theirs.shape[1]:
                theirs = theirs[:, _places(ours.shape[1], theirs.shape[1], theirs.device)]
            pairs.append((ours, theirs.detach()))
        return _Distance.apply(*(each for group in zip(*pairs, strict=True) for each in group))


_places = cache(lambda size, of, device: evenly(size, of).to(device))  # a copy in each step would wait for a GPU


class _Distance(torch.autograd.Function):
    """The mean of |f_s - f_t|^2 / |f_t|^2 over layers, with few operators for many of them."""

    @staticmethod
    def forward(ctx: Any, *features: Tensor) -> Tensor:
        count = len(features) // 2
        ours, theirs = list(features[:count]), list(features[count:])
        differences = torch._foreach_sub(ours, theirs)
        errors, sizes = (
            torch.stack([each.mean() for each in torch._foreach_mul(group, group)]) for group in (differences, theirs)
        )
        sizes.clamp_(min=1e-6)
        ctx.save_for_backward(sizes, *differences)
        return (errors / sizes).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        sizes, *differences = ctx.saved_tensors
        slopes = 2 * (gradient / len(sizes)) / sizes
        scaled = torch._foreach_div(slopes.unbind(), [float(each.numel()) for each in differences])
        return *torch._foreach_mul(differences, scaled), *[None] * len(differences)
