"""Residual networks with basic blocks (He et al. 2016, "Deep Residual Learning", https://arxiv.org/abs/1512.03385)."""

from typing import Literal

from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape

# Basic blocks per stage, table 1 of the paper; depth 10 is its one-block-a-stage version, for small images.
STAGES = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: relu(conv(relu(conv(x))) + shortcut(x)), figure 2 of the paper."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu2(out + self.shortcut(x))


class ResNet(ImageNetwork):
    """ResNet of basic blocks for small images.

    The `cifar` stem is one 3 x 3 convolution that keeps the size, as public CIFAR code uses under the names ResNet-18
    and ResNet-34. The `imagenet` stem is torchvision's: 7 x 7, stride 2, then max pooling; on 32 x 32 images it throws
    away 15 of 16 positions before the first block and costs some 15 points of accuracy.

    Args:
        num_classes: Number of classes.
        image_shape: Channels, height and width of one image; at least 8 x 8 (`cifar`) or 32 x 32 (`imagenet`).
        depth: Number of layers with weights.
        width: Channels of the first stage; the others have 2, 4 and 8 times as many. 64 in the paper.
        stem: How the image enters, see above.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        depth: Literal[10, 18, 34] = 18,
        width: int = 64,
        stem: Literal["cifar", "imagenet"] = "cifar",
    ) -> None:
        super().__init__(num_classes, image_shape)
        self._require_side(8 if stem == "cifar" else 32)
        if depth not in STAGES:
            raise ValueError(f"depth must be one of {sorted(STAGES)}, got {depth}")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        in_channels = image_shape[0]
        if stem == "cifar":
            self.stem = nn.Sequential(
                nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            )
        else:
            self.stem = nn.Sequential(
                nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(3, stride=2, padding=1),
            )
        stages = []
        channels = width
        for stage, num_blocks in enumerate(STAGES[depth]):
            out_channels = width * 2**stage
            strides = [1 if stage == 0 else 2] + [1] * (num_blocks - 1)
            blocks = []
            for stride in strides:
                blocks.append(BasicBlock(channels, out_channels, stride))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.classifier(self.pool(self.stages(self.stem(x))))
