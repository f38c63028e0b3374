"""Layers that a config names, and how weights start."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from lightning_tasks.initialisation import Initialisation, standard_deviation

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh"]
Normalisation = Literal["none", "batch", "layer"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation(name: Activation) -> nn.Module:
    """Make an activation by its name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"no activation {name!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class GlobalAveragePool(nn.Module):
    """Mean over all positions: AdaptiveAvgPool2d(1) and Flatten, with fewer operators in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C)."""
        return x.mean(dim=(2, 3))


def require_probability(name: str, value: float) -> None:
    """Refuse a dropout that is no probability, or drops all."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")


def initialise(network: nn.Module, initialisation: Initialisation) -> None:
    """Draw the weights of all convolutions and linear layers anew, in place; their biases become zero.

    Args:
        network: Any network.
        initialisation: "random", "xavier" or "he", see lightning_tasks.initialisation.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            fan_in = module.weight[0].numel()
            fan_out = len(module.weight) * module.weight[0, 0].numel()
            nn.init.normal_(module.weight, std=standard_deviation(initialisation, fan_in, fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
