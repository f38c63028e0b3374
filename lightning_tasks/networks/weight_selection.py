"""A network that starts as a part of a larger one."""

import torch
from torch import Tensor, nn


def evenly(size: int, of: int) -> Tensor:
    """Choose places at equal distances: indices (size,) below `of`."""
    return torch.arange(size) * of // size


def select_weights(small: nn.Module, large: nn.Module) -> None:
    """Fill a network with evenly chosen weights of a larger one that has its layers by the same names.

    Weight selection of Xu et al. 2024, "Initializing models with larger ones", https://arxiv.org/abs/2311.18823,
    section 3: along each dimension of each tensor the elements at equal distances, so that a channel of the small
    network is the same channel of the large one in all layers. The large one may have further layers.

    Args:
        small: Network whose weights and BatchNorm statistics are replaced.
        large: Network whose weights and statistics are taken.

    Raises:
        ValueError: If a tensor of the small network has no namesake in the large one, or a smaller one.
    """
    theirs = large.state_dict()
    chosen = {}
    for name, value in small.state_dict().items():
        given = theirs.get(name)
        if (
            given is None
            or given.ndim != value.ndim
            or any(a > b for a, b in zip(value.shape, given.shape, strict=True))
        ):
            there = "none" if given is None else f"{tuple(given.shape)}"
            raise ValueError(f"{name} of shape {tuple(value.shape)} cannot be a part of the larger network's: {there}")
        for dim, size in enumerate(value.shape):
            given = given.index_select(dim, evenly(size, given.shape[dim]).to(given.device))
        chosen[name] = given
    small.load_state_dict(chosen)
