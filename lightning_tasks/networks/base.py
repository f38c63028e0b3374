"""The contract that every image classifier of this project keeps."""

from collections.abc import Callable

from torch import nn

ImageShape = tuple[int, int, int]


class ImageNetwork(nn.Module):
    """Network from images to class scores.

    Subclasses map images (B, C, H, W) to logits (B, num_classes). A task calls the constructor with the first two
    arguments, which it knows from the data; a config sets all the others.

    Args:
        num_classes: Number of classes, at least 2.
        image_shape: Channels, height and width of one image, each at least 1.

    Raises:
        ValueError: If the arguments are out of range, or the images are too small for the network.
    """

    def __init__(self, num_classes: int, image_shape: ImageShape) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError(f"image_shape must be (channels, height, width), each at least 1, got {image_shape}")
        self.num_classes = num_classes
        self.image_shape = image_shape

    def _require_side(self, minimum: int) -> None:
        """Refuse images whose shorter side would vanish in the downsampling."""
        if min(self.image_shape[1:]) < minimum:
            height, width = self.image_shape[1:]
            raise ValueError(
                f"{type(self).__name__} needs images of at least {minimum} x {minimum} pixels, got {height} x {width}"
            )


NetworkCallable = Callable[[int, ImageShape], ImageNetwork]


def count_parameters(network: nn.Module) -> int:
    """Count the numbers that training may change."""
    return sum(parameter.numel() for parameter in network.parameters())
