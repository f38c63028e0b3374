"""Random numbers for tensors on a device, and for what the host decides."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F


class RandomSource(NamedTuple):
    """A generator on the device of the tensors, and one on the host, whose numbers can be read without a wait.

    On the CPU both are the same generator.

    Attributes:
        tensors: Generator of random tensors, on their device.
        decisions: Generator of decisions made in Python, on the CPU.
    """

    tensors: torch.Generator
    decisions: torch.Generator

    @classmethod
    def on(cls, device: torch.device, seed: int = 0) -> Self:
        """Start anew from a seed, for tensors on a device."""
        tensors = torch.Generator(device).manual_seed(seed)
        return cls(tensors, tensors if device.type == "cpu" else torch.Generator().manual_seed(seed))


def draw_latent(
    count: int, latent_dim: int, num_classes: int | None, random: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Draw noise for a generator.

    Args:
        count: How many vectors.
        latent_dim: Their length.
        num_classes: Let the first so many numbers name a class, one-hot with the mean square of noise; None for none.
        random: Generator on the device of the vectors.

    Returns:
        Noise (count, latent_dim), and the classes (count,) that it names, if it does.
    """
    z = torch.randn((count, latent_dim), generator=random, device=random.device)
    if num_classes is None:
        return z, None
    y = torch.randint(num_classes, (count,), generator=random, device=random.device)
    z[:, :num_classes] = num_classes**0.5 * F.one_hot(y, num_classes)
    return z, y
