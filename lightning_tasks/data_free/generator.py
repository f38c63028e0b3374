"""Image generator for distillation without data."""

from torch import Tensor, nn

from lightning_tasks.networks.base import Generator, ImageShape


class ImageGenerator(Generator):
    """DCGAN-like generator: a linear layer, then upsampling and 3 x 3 convolutions, from noise to normalised images.

    The generator of Fang et al. 2019, "Data-Free Adversarial Distillation", https://arxiv.org/abs/1912.11006 (their
    GeneratorA, with `width` 64): two upsamplings for 16 and 32 pixels, and one more for each doubling beyond, from a
    start that covers the image; what is beyond the image is cut off, evenly on opposite sides. Nearest-neighbour
    upsampling before a plain convolution replaces DCGAN's transposed convolution, which leaves checkerboards. The last
    BatchNorm, without scale and shift, gives each channel mean 0 and variance 1 over a batch: the space of normalised
    real images, in which the teacher was trained, so no mean or standard deviation of real data enters.

    Args:
        image_shape: Channels, height and width of an image, of at least 8 x 8 pixels.
        latent_dim: Length of the noise vector; 256 in the authors' CIFAR runs.
        width: Channels of the last hidden layer; the earlier ones have twice as many.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, image_shape: ImageShape, latent_dim: int = 256, width: int = 64) -> None:
        super().__init__(image_shape, latent_dim)
        channels, *size = image_shape
        if min(size) < 8:
            raise ValueError(f"the generator makes images of at least 8 x 8 pixels, got {size[0]} x {size[1]}")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        # A start of at most 8 positions, but of at least 2 across a long image.
        num_upsamplings = min(max(2, (max(size) - 1).bit_length() - 3), min(size).bit_length() - 2)
        start = [-(-pixels // 2**num_upsamplings) for pixels in size]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, 2 * width * start[0] * start[1]),
            nn.Unflatten(1, (2 * width, *start)),
            nn.BatchNorm2d(2 * width),
        ]
        for index in range(num_upsamplings):
            out_channels = width if index == num_upsamplings - 1 else 2 * width
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(2 * width, out_channels, 3, padding=1),
                nn.BatchNorm2d(out_channels),
                nn.LeakyReLU(0.2),
            ]
        layers += [nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()]
        top, left = beyond = [each * 2**num_upsamplings - pixels for each, pixels in zip(start, size, strict=True)]
        if any(beyond):
            layers.append(nn.ZeroPad2d((-(left // 2), left // 2 - left, -(top // 2), top // 2 - top)))  # crops
        layers.append(nn.BatchNorm2d(channels, affine=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map noise (B, latent_dim) to images (B, C, H, W) with mean 0 and variance 1 per channel."""
        return self.layers(z)
