"""How far the features of a student are from its teacher's."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_tasks.networks.weight_selection import evenly


class Hint(NamedTuple):
    """What a student's features of a batch are compared with.

    Attributes:
        features: Output of each layer. Shape (B, C, ...), float32.
        sizes: Their mean squares, one for each layer.
    """

    features: list[Tensor]
    sizes: Tensor


class FeatureLoss(nn.Module):
    """Squared distance of a student's features from its teacher's, relative to their size.

    Mean over layers of `|f_s - f_t|^2 / |f_t|^2`: the hints of Romero et al. 2015, "FitNets",
    https://arxiv.org/abs/1412.6550, equation 3, at many layers as Li et al. 2020, "Few sample knowledge distillation
    for efficient network compression", https://arxiv.org/abs/1812.01839, do. Where a student's layer is narrower, its
    channels stand for some of the teacher's: those of reconstruct, if the student started so, else evenly chosen ones,
    as in select_weights. So it takes no layers between the two.

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
        (hint,) = self.hints(teacher, {layer: student[layer].shape[1:] for layer in self.layers})
        return self.distance(student, hint)

    def hints(
        self,
        teacher: Mapping[str, Tensor],
        shapes: Mapping[str, Sequence[int]],
        batches: int = 1,
        channels: Mapping[str, Tensor] | None = None,
    ) -> list[Hint]:
        """Prepare what the student's features are compared with; of several batches at once with fewer operators.

        Args:
            teacher: Outputs (batches * B, D, ...) by the name of their layer.
            shapes: Shape (C, ...) of the student's output for one image, by layer name.
            batches: How many there are, of equal size.
            channels: Channels (C,) of the teacher that the student's stand for, by layer name; evenly chosen where it
                says nothing.

        Returns:
            One for each batch.

        Raises:
            ValueError: If the student has more channels in a layer, or other positions.
        """
        chosen = []
        for layer in self.layers:
            ours, theirs = shapes[layer], teacher[layer].detach()
            if ours[0] > theirs.shape[1] or ours[1:] != theirs.shape[2:]:
                raise ValueError(
                    f"feature_loss: {layer} gives {tuple(ours)} in the student, which is no part of the teacher's"
                    f" {tuple(theirs.shape[1:])}"
                )
            if ours[0] < theirs.shape[1]:
                places = (channels or {}).get(layer)
                theirs = theirs[:, _places(ours[0], theirs.shape[1], theirs.device) if places is None else places]
            chosen.append(theirs.float())
        squares = [each.unflatten(0, (batches, -1)) for each in torch._foreach_mul(chosen, chosen)]
        sizes = torch.stack([each.mean(dim=[*range(1, each.ndim)]) for each in squares], dim=1).clamp_(min=1e-6)
        parts = zip(*(each.chunk(batches) for each in chosen), strict=True)
        return [Hint(list(features), size) for features, size in zip(parts, sizes.unbind(), strict=True)]

    def distance(self, student: Mapping[str, Tensor], hint: Hint) -> Tensor:
        """Compute the loss of a student's outputs (B, C, ...) by the name of their layer; a scalar in float32."""
        return _Distance.apply(hint, *(student[layer].float() for layer in self.layers))


_places = cache(lambda size, of, device: evenly(size, of).to(device))  # a copy in each step would wait for a GPU


class _Distance(torch.autograd.Function):
    """The mean of |f_s - f_t|^2 / |f_t|^2 over layers, with few operators for many of them."""

    @staticmethod
    def forward(ctx: Any, hint: Hint, *ours: Tensor) -> Tensor:
        differences = torch._foreach_sub(ours, hint.features)
        counts = [float(each.numel()) for each in ours]
        errors = torch.stack(torch._foreach_div(torch._foreach_pow(torch._foreach_norm(differences), 2), counts))
        ctx.save_for_backward(hint.sizes, *differences)
        return (errors / hint.sizes).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        sizes, *differences = ctx.saved_tensors
        slopes = 2 * (gradient / len(sizes)) / sizes
        scaled = torch._foreach_div(slopes.unbind(), [float(each.numel()) for each in differences])
        return None, *torch._foreach_mul(differences, scaled)
