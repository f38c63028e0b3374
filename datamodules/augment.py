"""Random transforms of whole batches, another one for each image, on the device that holds the batch.

Crop and flip, which every CIFAR recipe needs, are here. For all else name a transform of kornia in the config, which
works on batches in the same way:

    augment:
      - {class_path: datamodules.BatchRandomCrop, init_args: {padding: 4}}
      - {class_path: kornia.augmentation.ColorJitter, init_args: {brightness: 0.2}}
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchRandomCrop(nn.Module):
    """Pad each image with black and cut a window of the old size out at a random place.

    Args:
        padding: Pixels added on each side, at least 1.
    """

    def __init__(self, padding: int = 4) -> None:
        super().__init__()
        if padding < 1:
            raise ValueError(f"padding must be at least 1, got {padding}")
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Crop images (B, C, H, W), any dtype, to the same shape."""
        batch, _, height, width = x.shape
        padded = F.pad(x, (self.padding,) * 4)
        offsets = torch.randint(0, 2 * self.padding + 1, (2, batch, 1), device=x.device)
        rows = offsets[0] + torch.arange(height, device=x.device)
        columns = offsets[1] + torch.arange(width, device=x.device)
        samples = torch.arange(batch, device=x.device)
        # Advanced indices on both sides of the channel slice put it last: (B, H, W, C).
        cropped = padded[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return cropped.permute(0, 3, 1, 2)


class BatchRandomFlip(nn.Module):
    """Mirror each image left to right with the given probability.

    Args:
        p: Probability, in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Flip some of the images (B, C, H, W), any dtype."""
        flipped = torch.rand(len(x), 1, 1, 1, device=x.device) < self.p
        return torch.where(flipped, x.flip(-1), x)
