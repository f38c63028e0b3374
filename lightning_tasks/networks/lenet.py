"""LeNet-5."""

from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape


class LeNet5(ImageNetwork):
    """Three 5 x 5 convolutions with max pooling between, and two linear layers.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2, with ReLU and max pooling as
    Fang et al. 2019 (https://arxiv.org/abs/1912.11006) have it for MNIST; their half-size student has `scale` 0.5.

    Args:
        num_classes: Number of classes.
        image_shape: Channels, height and width of one image; 32 x 32.
        scale: Share of the 6, 16 and 120 filters and of the 84 hidden units; above 0.
    """

    def __init__(self, num_classes: int, image_shape: ImageShape, scale: float = 1.0) -> None:
        super().__init__(num_classes, image_shape)
        if image_shape[1:] != (32, 32):
            raise ValueError(f"LeNet5 takes images of 32 x 32, got {image_shape[1]} x {image_shape[2]}")
        if scale <= 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        first, second, third, hidden = (max(1, round(size * scale)) for size in (6, 16, 120, 84))
        self.layers = nn.Sequential(
            nn.Conv2d(image_shape[0], first, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(second, third, 5),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(third, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, 32, 32) to logits (B, num_classes)."""
        return self.layers(x)

    def parts(self) -> list[nn.Module]:
        """Give the layers in order."""
        return list(self.layers)
