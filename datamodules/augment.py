"""Random transforms of whole batches, another one for each image, on the device that holds the batch.

Crop and flip, which every CIFAR recipe needs, are here. For all else name a transform of kornia in the config, which
works on batches in the same way; policies of torchvision go in groups::

    augment:
      - {class_path: datamodules.BatchRandomCrop, init_args: {padding: 4}}
      - {class_path: kornia.augmentation.ColorJitter, init_args: {brightness: 0.2}}
      - class_path: datamodules.InGroups
        init_args: {transform: {class_path: torchvision.transforms.v2.TrivialAugmentWide}}
      - {class_path: datamodules.BatchMixUp, init_args: {alpha: 0.2}}

MixUp and CutMix, which make labels soft, are here too: kornia's have no alpha and take some ten times as long. So is
progressive resizing, which goes by how far training has come.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Beta
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
        """Crop images (B, C, H, W), any dtype, to the same shape.

        Raises:
            ValueError: If nothing of some images would be left.
        """
        batch, _, height, width = x.shape
        if self.padding >= min(height, width):
            raise ValueError(f"padding must be less than the {min(height, width)} pixels of a side, got {self.padding}")
        padded = F.pad(x, (self.padding,) * 4)
        offsets = torch.randint(0, 2 * self.padding + 1, (2, batch, 1), device=x.device)
        if in_numpy(x):  # ten times as fast as advanced indices
            images = zip(padded.numpy(), *offsets.flatten(1).tolist(), strict=True)
            return _stack(x, (each[:, row : row + height, left : left + width] for each, row, left in images))
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
        if in_numpy(x):  # four times as fast as `where`
            images = zip(x.numpy(), x.flip(-1).numpy(), flipped.flatten().tolist(), strict=True)
            return _stack(x, (other if is_flipped else each for each, other, is_flipped in images))
        return torch.where(flipped, x.flip(-1), x)


def in_numpy(x: Tensor) -> bool:
    """Say whether images are moved by NumPy, which is faster: those that are bytes on the CPU."""
    return x.dtype == torch.uint8 and x.device.type == "cpu"


def _stack(x: Tensor, images: Iterable[np.ndarray]) -> Tensor:
    """Put images together to a batch like x, contiguous."""
    batch = np.empty(x.shape, np.uint8)
    for image, pixels in zip(batch, images, strict=True):
        image[:] = pixels
    return torch.from_numpy(batch)


class InGroups(nn.Module):
    """Apply a transform to a few images at a time, with new random choices for each group.

    For transforms that choose once for a whole batch, as torchvision's RandAugment and TrivialAugment. Batches are
    shuffled, so the images of a group are other ones in each epoch.

    Args:
        transform: Maps images (G, C, H, W) to the same shape.
        size: Images in a group. 1 chooses for each image, at some six times the time of 8.
    """

    def __init__(self, transform: Callable, size: int = 8) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.transform = transform
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Transform images (B, C, H, W)."""
        return torch.cat([self.transform(group) for group in x.split(self.size)])


class ProgressiveResize(nn.Module):
    """Make images smaller at the start of training, and let them grow to their full size: early epochs cost less.

    Size = full size * scale, rounded to a multiple of `size_increment`. The scale is `initial_scale` in the first part
    of training and 1 in the last, and grows linearly in between (progressive resizing, Howard 2018, "Training Imagenet
    in 3 hours", https://www.fast.ai/2018/04/30/dawnbench-fastai; the options are those of MosaicML's Composer). For
    networks that take any size; evaluations see whole images.

    Args:
        initial_scale: Scale at the start, in (0, 1].
        delay_fraction: Share of training before images grow, in [0, 1].
        finetune_fraction: Share of training at full size, at its end, in [0, 1]; with `delay_fraction` at most 1.
        size_increment: Pixels, at least 1; multiples of a power of two suit networks that halve images.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        initial_scale: float = 0.5,
        delay_fraction: float = 0.4,
        finetune_fraction: float = 0.3,
        size_increment: int = 4,
    ) -> None:
        super().__init__()
        if not 0 < initial_scale <= 1:
            raise ValueError(f"initial_scale must be in (0, 1], got {initial_scale}")
        if min(delay_fraction, finetune_fraction) < 0 or delay_fraction + finetune_fraction > 1:
            raise ValueError(
                "delay_fraction and finetune_fraction must not be negative and sum to at most 1, got"
                f" {delay_fraction} and {finetune_fraction}"
            )
        if size_increment < 1:
            raise ValueError(f"size_increment must be at least 1, got {size_increment}")
        self.initial_scale = initial_scale
        self.delay_fraction = delay_fraction
        self.finetune_fraction = finetune_fraction
        self.size_increment = size_increment

    def size(self, full: int, progress: float) -> int:
        """Say how large a side of `full` pixels is when a share of training, in [0, 1), is done."""
        growing = 1 - self.delay_fraction - self.finetune_fraction
        done = (progress - self.delay_fraction) / growing if growing else float(progress >= self.delay_fraction)
        scale = self.initial_scale + (1 - self.initial_scale) * min(max(done, 0), 1)
        if scale == 1:
            return full
        return min(full, max(1, round(full * scale / self.size_increment)) * self.size_increment)

    def forward(self, x: Tensor, progress: float) -> Tensor:
        """Resize images (B, C, H, W) when a share of training, in [0, 1), is done."""
        sizes = [self.size(full, progress) for full in x.shape[2:]]
        if sizes == list(x.shape[2:]):
            return x
        return F.interpolate(x, sizes, mode="bilinear", antialias=True)


class Mixing(nn.Module):
    """What MixUp and CutMix share: each image gets a partner from its batch and a share lambda ~ Beta(alpha, alpha).

    Args:
        alpha: Above 0; 1 makes all shares equally likely, less makes most images nearly unmixed.
        p: Probability with which an image is mixed, in [0, 1].

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, alpha: float = 1.0, p: float = 1.0) -> None:
        super().__init__()
        if alpha <= 0:
            raise ValueError(f"alpha must be above 0, got {alpha}")
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}")
        self.alpha = alpha
        self.p = p

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images (B, C, H, W), and their soft labels (B, num_classes) by the same shares."""
        # Filled on the device and not looked at: the host would wait for each.
        alpha = x.new_full((), self.alpha)
        share = Beta(alpha, alpha, validate_args=False).sample((len(x),))
        share = torch.where(torch.rand(len(x), device=x.device) < self.p, share, 1)
        partner = torch.randperm(len(x), device=x.device)
        x, share = self.mix(x, x[partner], share)
        return x, torch.lerp(y[partner], y, share[:, None])

    def mix(self, x: Tensor, other: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images with their partners (B, C, H, W), and give the shares (B,) that are left of the former."""
        raise NotImplementedError


class BatchMixUp(Mixing):
    """x = lambda x_i + (1 - lambda) x_j, and so the labels (Zhang et al. 2018, https://arxiv.org/abs/1710.09412)."""

    def mix(self, x: Tensor, other: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Mix pixel by pixel."""
        return torch.lerp(other, x, share.view(-1, 1, 1, 1)), share


class BatchCutMix(Mixing):
    """A box of the partner, of area 1 - lambda, in each image (Yun et al. 2019, https://arxiv.org/abs/1905.04899).

    The box has the image's shape and any centre; what lies outside is cut off, and the labels go by what is left.
    """

    def mix(self, x: Tensor, other: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Paste the boxes."""
        inside = [self._interval(size, (1 - share).sqrt()) for size in x.shape[2:]]
        box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return torch.where(box, other, x), 1 - box.to(x.dtype).mean(dim=(1, 2, 3))

    @staticmethod
    def _interval(size: int, length: Tensor) -> Tensor:
        """Say which of `size` pixels lie in an interval of random centre. Shape (B, size)."""
        centre = torch.rand_like(length) * size
        pixels = torch.arange(size, device=length.device) + 0.5
        return (pixels - centre[:, None]).abs() < length[:, None] * size / 2
