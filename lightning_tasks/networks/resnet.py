"""Residual networks with basic blocks (He et al. 2016, "Deep Residual Learning", https://arxiv.org/abs/1512.03385).

Weights have torchvision's names, which public CIFAR networks share: their state dicts load as they are.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_tasks.networks.base import ImageNetwork, ImageShape
from lightning_tasks.networks.layers import GlobalAveragePool, require_probability
from lightning_tasks.networks.small_maps import SmallMapConv2d

# Basic blocks of each stage. 18 and 34 are in table 1 of the paper, 10 is their one-block-a-stage version for small
# images; those of three stages, 6 n + 2 layers, are in its section 4.2, on CIFAR.
BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    20: (3, 3, 3),
    32: (5, 5, 5),
    44: (7, 7, 7),
    56: (9, 9, 9),
}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: relu(conv(relu(conv(x))) + shortcut(x)), figure 2 of the paper.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the first convolution and, where the shape changes, of the 1 x 1 convolution in the shortcut.
        dropout: Probability with which an output of either ReLU is dropped in training.
        small_maps: Convolve maps of at most 2 x 2 positions as SmallMapConv2d does; else in any case as nn.Conv2d.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, dropout: float = 0.0, small_maps: bool = False
    ) -> None:
        super().__init__()

        def convolution(inputs: int, stride: int) -> nn.Conv2d:
            if small_maps:
                return SmallMapConv2d(inputs, out_channels, stride)
            return nn.Conv2d(inputs, out_channels, 3, stride, padding=1, bias=False)

        self.conv1 = convolution(in_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(out_channels, 1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.downsample = nn.Sequential()
        self.stride = stride
        if stride != 1 or in_channels != out_channels:
            # Its stride is that of a pooling of single values: oneDNN's gradient of a strided 1 x 1 convolution of few
            # channels writes beyond its memory on CPUs without AVX-512, https://github.com/uxlfoundation/oneDNN/issues/6035.
            self.downsample.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.downsample.append(nn.BatchNorm2d(out_channels))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        out = self.dropout(self.relu1(self.bn1(self.conv1(x))))
        out = self.bn2(self.conv2(out))
        kept = x if self.stride == 1 else F.avg_pool2d(x, 1, self.stride)
        return self.dropout(self.relu2(out + self.downsample(kept)))


class ResNet(ImageNetwork):
    """ResNet of basic blocks for small images.

    The `cifar` stem is one 3 x 3 convolution that keeps the size, as public CIFAR code uses under the names ResNet-18
    and ResNet-34. The `imagenet` stem is torchvision's: 7 x 7, stride 2, then max pooling; on 32 x 32 images it throws
    away 15 of 16 positions before the first block and costs some 15 points of accuracy. The last maps are then of
    2 x 2 and 1 x 1 positions, see SmallMapConv2d.

    Args:
        num_classes: Number of classes.
        image_shape: Channels, height and width of one image; at least 8 x 8 (`cifar`) or 32 x 32 (`imagenet`), after
            enlarging.
        depth: Number of layers with weights. 10, 18 and 34 have four stages, 20, 32, 44 and 56 have three.
        width: Channels of the first stage; the others have 2, 4 and 8 times as many. In the paper 64 with four stages
            and 16 with three.
        stem: How the image enters, see above.
        dropout: Probability of dropping an output of a block's ReLUs in training, in [0, 1).
        enlarge: Factor by which images are enlarged first (bilinear), for weights that were made on greater images.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        depth: Literal[10, 18, 20, 32, 34, 44, 56] = 18,
        width: int = 64,
        stem: Literal["cifar", "imagenet"] = "cifar",
        dropout: float = 0.0,
        enlarge: int = 1,
    ) -> None:
        super().__init__(num_classes, image_shape)
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {sorted(BLOCKS)}, got {depth}")
        for name, value in (("width", width), ("enlarge", enlarge)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        require_probability("dropout", dropout)
        self._require_side(-(-(8 if stem == "cifar" else 32) // enlarge))
        self.enlarge = nn.Identity() if enlarge == 1 else nn.Upsample(scale_factor=enlarge, mode="bilinear")
        if stem == "cifar":
            self.conv1 = nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(image_shape[0], width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if stem == "cifar" else nn.MaxPool2d(3, stride=2, padding=1)
        self._stages = [f"layer{stage}" for stage in range(1, len(BLOCKS[depth]) + 1)]
        channels = width
        for stage, (name, num_blocks) in enumerate(zip(self._stages, BLOCKS[depth], strict=True)):
            blocks = nn.Sequential()
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(channels, width * 2**stage, stride, dropout, stem == "imagenet"))
                channels = width * 2**stage
            self.add_module(name, blocks)
        self.avgpool = GlobalAveragePool()
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.enlarge(x)))))
        for name in self._stages:
            x = self.get_submodule(name)(x)
        return self.fc(self.avgpool(x))

    def parts(self) -> list[nn.Module]:
        """Give stem, blocks and head in order."""
        blocks = [block for name in self._stages for block in self.get_submodule(name).children()]
        stem = [self.enlarge, self.conv1, self.bn1, self.relu, self.maxpool]
        return [*stem, *blocks, self.avgpool, self.fc]
