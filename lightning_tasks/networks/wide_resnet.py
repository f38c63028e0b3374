"""Wide residual networks (Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146)."""

from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape


class PreActivationBlock(nn.Module):
    """Two 3 x 3 convolutions, each after BatchNorm and ReLU, and a shortcut (figure 1d of the paper)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.activate1 = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.activate2 = nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU(), nn.Dropout(dropout))
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.same_shape = stride == 1 and in_channels == out_channels
        # Where the shape changes, the shortcut starts after the activation, as in the authors' code.
        self.stride = stride  # of a slice, as in BasicBlock
        self.shortcut = nn.Identity() if self.same_shape else nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        activated = self.activate1(x)
        out = self.conv2(self.activate2(self.conv1(activated)))
        return out + self.shortcut(x if self.same_shape else activated[:, :, :: self.stride, :: self.stride])


class WideResNet(ImageNetwork):
    """WRN-depth-width: three stages of pre-activation blocks, 16, 32 and 64 times `width` channels.

    Args:
        num_classes: Number of classes.
        image_shape: Channels, height and width of one image, at least 4 x 4.
        depth: Number of convolution layers; 6 n + 4 with n blocks a stage (10, 16, 22, 28, 34, 40, ...).
        width: Widening factor k of the paper.
        dropout: Probability of dropping an activation between the two convolutions of a block.
    """

    def __init__(
        self, num_classes: int, image_shape: ImageShape, depth: int = 40, width: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__(num_classes, image_shape)
        self._require_side(4)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6 n + 4 with n >= 1 (10, 16, 22, 28, 34, 40, ...), got {depth}")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        channels = 16
        self.stem = nn.Conv2d(image_shape[0], channels, 3, padding=1, bias=False)
        stages = []
        for stage in range(3):
            out_channels = 16 * 2**stage * width
            blocks = []
            for block in range((depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(PreActivationBlock(channels, out_channels, stride, dropout))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.classifier(self.pool(self.stages(self.stem(x))))
