"""Plain convolutional networks."""

import itertools

from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape
from lightning_tasks.networks.layers import Activation, activation, require_probability


class CNN(ImageNetwork):
    """Stages of 3 x 3 convolutions that each end in 2 x 2 max pooling, then fully-connected layers.

    The layout of VGG (Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556), for small images.

    Args:
        num_classes: Number of classes.
        image_shape: Channels, height and width of one image; the shorter side at least 2 to the number of stages.
        stages: Channels of each convolution in each stage.
        hidden_sizes: Width of each hidden fully-connected layer.
        activation: After each convolution and each hidden layer.
        batch_normalisation: Normalise before each activation (Ioffe and Szegedy 2015).
        average: Take the mean over positions after the last stage, instead of all of them.
        dropout: Probability of dropping a value after each stage and each hidden layer in training, in [0, 1).
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        stages: tuple[tuple[int, ...], ...] = ((32, 32), (64, 64)),
        hidden_sizes: tuple[int, ...] = (128,),
        activation: Activation = "relu",
        batch_normalisation: bool = True,
        average: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, image_shape)
        self._require_side(2 ** len(stages))
        if not stages or min(min(stage, default=0) for stage in stages) < 1 or min(hidden_sizes, default=1) < 1:
            raise ValueError(
                "stages needs one or more lists of channels, and each number in stages and hidden_sizes must be at"
                f" least 1, got {stages} and {hidden_sizes}"
            )
        require_probability("dropout", dropout)
        bias = not batch_normalisation
        channels, (height, width) = image_shape[0], image_shape[1:]
        self.stages = nn.Sequential()
        for stage in stages:
            layers = nn.Sequential()
            for inputs, outputs in itertools.pairwise((channels, *stage)):
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias))
                _add_activation(layers, nn.BatchNorm2d(outputs) if batch_normalisation else None, activation)
            layers.append(nn.MaxPool2d(2))
            layers.append(nn.Dropout(dropout))
            self.stages.append(layers)
            channels, height, width = stage[-1], height // 2, width // 2
        self.head = nn.Sequential()
        if average:
            self.head.append(nn.AdaptiveAvgPool2d(1))
            height = width = 1
        self.head.append(nn.Flatten())
        features = channels * height * width
        for size in hidden_sizes:
            self.head.append(nn.Linear(features, size, bias=bias))
            _add_activation(self.head, nn.BatchNorm1d(size) if batch_normalisation else None, activation)
            self.head.append(nn.Dropout(dropout))
            features = size
        self.head.append(nn.Linear(features, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.head(self.stages(x))

    def parts(self) -> list[nn.Module]:
        """Give the layers in order."""
        return [layer for stage in (*self.stages, self.head) for layer in stage.children()]


def _add_activation(layers: nn.Sequential, normalisation: nn.Module | None, name: Activation) -> None:
    if normalisation is not None:
        layers.append(normalisation)
    layers.append(activation(name))
