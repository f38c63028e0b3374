"""A plain network of convolutions with one pooling layer."""

from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape
from lightning_tasks.networks.layers import Activation, activation, require_probability
from lightning_tasks.networks.pooling import AveragePool2d


class StridedCNN(ImageNetwork):
    """3 x 3 convolutions, some of which halve the image, then one average pooling and one hidden linear layer.

    In place of max pooling a convolution has stride 2 (Springenberg et al. 2015, "Striving for simplicity",
    https://arxiv.org/abs/1412.6806). Each convolution is followed by BatchNorm and the activation.

    Args:
        num_classes: Number of classes.
        image_shape: Channels, height and width of one image.
        channels: Filters of each convolution.
        strides: Stride of each convolution, 1 or 2; as many.
        pooled_size: Side of what the average pooling leaves; 1 takes the mean of all positions.
        hidden_size: Width of the hidden linear layer.
        activation: After each convolution and the hidden layer.
        dropout: Probability of dropping a value after the pooling and after the hidden layer in training, in [0, 1).
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        channels: tuple[int, ...] = (12, 24, 24, 48, 48, 96, 96, 192, 192, 384, 384, 512),
        strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1),
        pooled_size: int = 1,
        hidden_size: int = 1024,
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, image_shape)
        if not channels or min(channels) < 1 or len(strides) != len(channels) or not set(strides) <= {1, 2}:
            raise ValueError(
                "channels needs one or more numbers, each at least 1, and strides as many, each 1 or 2, got"
                f" {channels} and {strides}"
            )
        if min(pooled_size, hidden_size) < 1:
            raise ValueError(f"pooled_size and hidden_size must be at least 1, got {pooled_size} and {hidden_size}")
        require_probability("dropout", dropout)
        self._require_side(2 ** strides.count(2) * pooled_size)
        self.convolutions = nn.Sequential()
        for inputs, outputs, stride in zip((image_shape[0], *channels), channels, strides, strict=False):
            self.convolutions += _layer(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), activation)
        self.head = nn.Sequential(
            AveragePool2d(pooled_size),
            nn.Flatten(),
            nn.Dropout(dropout),
            *_layer(nn.Linear(channels[-1] * pooled_size**2, hidden_size, bias=False), activation),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.head(self.convolutions(x))

    def parts(self) -> list[nn.Module]:
        """Give the layers in order."""
        return [*self.convolutions, *self.head]


def _layer(weights: nn.Conv2d | nn.Linear, name: Activation) -> nn.Sequential:
    """Put normalisation and activation after weights."""
    normalisation = (
        nn.BatchNorm2d(weights.out_channels) if isinstance(weights, nn.Conv2d) else nn.BatchNorm1d(weights.out_features)
    )
    return nn.Sequential(weights, normalisation, activation(name))
