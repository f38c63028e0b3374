"""Fully-connected networks."""

import math

from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape
from lightning_tasks.networks.layers import Activation, Normalisation, activation, require_probability


class MLP(ImageNetwork):
    """Linear layers only, with an activation between them, and optional normalisation and dropout.

    Args:
        num_classes: Number of classes.
        image_shape: Channels, height and width of one image; the image is flattened.
        hidden_sizes: Width of each hidden layer, from the input on.
        activation: Between the linear layers.
        normalisation: Before each activation: over the batch (Ioffe and Szegedy 2015), over the layer (Ba et al. 2016),
            or none.
        dropout: Probability with which a hidden activation is dropped in training, in [0, 1).
        input_dropout: Dropout probability of the pixels.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        hidden_sizes: tuple[int, ...] = (128, 64),
        activation: Activation = "relu",
        normalisation: Normalisation = "none",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, image_shape)
        if any(size < 1 for size in hidden_sizes):
            raise ValueError(f"hidden_sizes must each be at least 1, got {hidden_sizes}")
        self.layers = nn.Sequential(nn.Flatten())
        self._add_dropout("input_dropout", input_dropout)
        width = math.prod(image_shape)
        for size in hidden_sizes:
            self._add_hidden(width, size, activation, normalisation)
            self._add_dropout("dropout", dropout)
            width = size
        self.layers.append(nn.Linear(width, num_classes))

    def _add_hidden(self, width: int, size: int, name: Activation, normalisation: Normalisation) -> None:
        # Normalisation subtracts what a bias would add.
        self.layers.append(nn.Linear(width, size, bias=normalisation == "none"))
        if normalisation != "none":
            self.layers.append(nn.BatchNorm1d(size) if normalisation == "batch" else nn.LayerNorm(size))
        self.layers.append(activation(name))

    def _add_dropout(self, option: str, probability: float) -> None:
        require_probability(option, probability)
        if probability:
            self.layers.append(nn.Dropout(probability))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.layers(x)

    def parts(self) -> list[nn.Module]:
        """Give the layers in order."""
        return list(self.layers)
