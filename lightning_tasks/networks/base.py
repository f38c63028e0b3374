"""The contract that every image classifier of this project keeps."""

from collections.abc import Callable

from torch import Tensor, nn

ImageShape = tuple[int, int, int]
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


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

    @property
    def inner(self) -> nn.Module:
        """The module by whose names others would keep its weights."""
        return self

    def parts(self) -> list[nn.Module]:
        """Give modules which, one after the other, do what the network does; a network that has none is one part."""
        return [self]

    def _require_side(self, minimum: int) -> None:
        """Refuse images whose shorter side would vanish in the downsampling."""
        if min(self.image_shape[1:]) < minimum:
            height, width = self.image_shape[1:]
            raise ValueError(
                f"{type(self).__name__} needs images of at least {minimum} x {minimum} pixels, got {height} x {width}"
            )


class Generator(nn.Module):
    """Network from noise to images.

    Subclasses map noise (B, latent_dim) to images (B, C, H, W) in the space of normalised images. A task calls the
    constructor with the first argument, which it knows from the data; a config sets all the others.

    Args:
        image_shape: Channels, height and width of one image.
        latent_dim: Length of the noise vector, at least 1.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, image_shape: ImageShape, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}")
        self.image_shape = image_shape
        self.latent_dim = latent_dim


NetworkCallable = Callable[[int, ImageShape], ImageNetwork]
GeneratorCallable = Callable[[ImageShape], Generator]


def cut_into_layers(network: ImageNetwork) -> list[nn.Sequential]:
    """Cut a network into its layers, which do one after the other what it does.

    A layer is a part of the network with weights, as a convolution, a block of a ResNet or a linear layer, and what
    follows it up to the next: normalisation, activation, pooling. What comes before the first belongs to the first.
    """
    cut: list[nn.Sequential] = []
    for part in network.parts():
        weights = any(True for _ in part.parameters()) and not isinstance(part, NORMALISATIONS)
        if not cut or (weights and any(True for _ in cut[-1].parameters())):
            cut.append(nn.Sequential())
        cut[-1].append(part)
    return cut


def count_multiply_adds(module: nn.Module, x: Tensor) -> tuple[int, Tensor]:
    """Count the multiplications with an addition that convolutions and matrix products take.

    Args:
        module: Module in evaluation mode.
        x: Its input.

    Returns:
        The count, and what the module gives.
    """
    from torch.utils.flop_counter import FlopCounterMode  # here, since it costs start-up time

    with FlopCounterMode(display=False) as counter:
        y = module(x)
    return counter.get_total_flops() // 2, y


def count_parameters(network: nn.Module, trained_only: bool = False) -> int:
    """Count the numbers in a network's weights: all, or those that training may change."""
    return sum(each.numel() for each in network.parameters() if each.requires_grad or not trained_only)
