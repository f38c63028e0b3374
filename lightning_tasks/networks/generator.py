"""Image generator for distillation without data."""

from torch import Tensor, nn

from lightning_tasks.networks.base import Generator, ImageShape


class ImageGenerator(Generator):
    """DCGAN-like generator: a linear layer, then upsampling and 3 x 3 convolutions, from noise to normalised images.

    The generator of Fang et al. 2019, "Data-Free Adversarial Distillation", https://arxiv.org/abs/1912.11006 (their
    GeneratorA, with `width` 64), extended to 64 pixels by one more upsampling. Nearest-neighbour upsampling before a
    plain convolution replaces DCGAN's transposed convolution, which leaves checkerboards. The last BatchNorm, without
    scale and shift, gives each channel mean 0 and variance 1 over a batch: the space of normalised real images, in
    which the teacher was trained, so no mean or standard deviation of real data enters.

    Args:
        image_shape: Channels, height and width of an image; a square of 16, 32 or 64 pixels.
        latent_dim: Length of the noise vector; 256 in the authors' CIFAR runs.
        width: Channels of the last hidden layer; the earlier ones have twice as many.

    Raises:
        ValueError: If the image is not a square of 16, 32 or 64 pixels.
    """

    def __init__(self, image_shape: ImageShape, latent_dim: int = 256, width: int = 64) -> None:
        super().__init__(image_shape, latent_dim)
        channels, height, side = image_shape
        if height != side or side not in (16, 32, 64):
            raise ValueError(f"the generator makes square images of 16, 32 or 64 pixels, got {height} x {side}")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        num_upsamplings = 3 if side == 64 else 2
        start = side // 2**num_upsamplings
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, 2 * width * start**2),
            nn.Unflatten(1, (2 * width, start, start)),
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
        layers += [nn.Conv2d(width, channels, 3, padding=1), nn.Tanh(), nn.BatchNorm2d(channels, affine=False)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map noise (B, latent_dim) to images (B, C, H, W) with mean 0 and variance 1 per channel."""
        return self.layers(z)
