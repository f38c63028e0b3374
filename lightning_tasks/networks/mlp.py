"""Fully-connected networks."""

import math

from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape


class MLP(ImageNetwork):
    """Linear layers with ReLU and optional dropout between them.

    Args:
        num_classes: Number of classes.
        image_shape: Channels, height and width of one image; the image is flattened.
        hidden_sizes: Width of each hidden layer, from the input on.
        dropout: Probability with which a hidden activation is dropped in training, in [0, 1).
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        hidden_sizes: tuple[int, ...] = (128, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, image_shape)
        if any(size < 1 for size in hidden_sizes):
            raise ValueError(f"hidden_sizes must each be at least 1, got {hidden_sizes}")
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(image_shape)
        for size in hidden_sizes:
            layers += [nn.Linear(width, size), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.layers(x)
