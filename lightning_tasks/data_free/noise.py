"""Random numbers for tensors on a device, and for what the host decides."""

from typing import NamedTuple, Self

import torch


class Noise(NamedTuple):
    """A generator on the device of the tensors, and one on the host, whose numbers can be read without a wait.

    On the CPU both are the same generator.

    Attributes:
        tensors: Of random tensors, on their device.
        decisions: Of what is decided in Python, on the CPU.
    """

    tensors: torch.Generator
    decisions: torch.Generator

    @classmethod
    def on(cls, device: torch.device, seed: int = 0) -> Self:
        """Start anew from a seed, for tensors on a device."""
        tensors = torch.Generator(device).manual_seed(seed)
        return cls(tensors, tensors if device.type == "cpu" else torch.Generator().manual_seed(seed))
