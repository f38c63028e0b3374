"""Augmentation of synthetic images: flips, shifts, mixtures."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_tasks.data_free.noise import RandomSource


class Augmentation:
    """Random flips, shifts and mixtures of each image, for a teacher that answers the augmented image.

    With such a teacher no augmentation is wrong: Beyer et al. 2022, "Knowledge distillation: a good teacher is patient
    and consistent", https://arxiv.org/abs/2106.05237, section 3. An image may be flipped, is shifted, and is then mixed
    with another of its batch. Half of the mixed batches are interpolated, lambda x_i + (1 - lambda) x_j with lambda
    uniform in [0, 1] for each image (virtual interpolation, Qu et al. 2021, "Enhancing data-free adversarial
    distillation with activation regularization and virtual interpolation", https://arxiv.org/abs/2102.11638, section
    2.3). In the other half a box of the other image, whose share of the area is uniform in [0, 1], lies on the image at
    a random place, the same for all of the batch (CutMix, Yun et al. 2019, "CutMix: regularization strategy to train
    strong classifiers with localizable features", https://arxiv.org/abs/1905.04899, section 3.1).

    Args:
        flip: Whether half of the images are flipped left to right.
        max_shift: Pixels up to which images are shifted each way; zeros enter, the mean of normalised images.
        mix_ratio: Share of the batches that are mixed, in [0, 1].

    Raises:
        ValueError: If an option is out of range, or nothing is to be done.
    """

    def __init__(self, flip: bool = True, max_shift: int = 4, mix_ratio: float = 1.0) -> None:
        if max_shift < 0:
            raise ValueError(f"augmentation.max_shift must not be negative, got {max_shift}")
        if not 0 <= mix_ratio <= 1:
            raise ValueError(f"augmentation.mix_ratio must be in [0, 1], got {mix_ratio}")
        if not (flip or max_shift or mix_ratio):
            raise ValueError("augmentation: neither flip nor max_shift nor mix_ratio; leave it out")
        self.flip = flip
        self.max_shift = max_shift
        self.mix_ratio = mix_ratio

    def __call__(self, x: Tensor, noise: RandomSource) -> Tensor:
        """Change a batch.

        Args:
            x: Images (B, C, H, W).
            noise: Source of random numbers, on the images' device.

        Returns:
            Images of the same shape, type and memory format.
        """
        if self.flip:
            x = torch.where(_uniform(len(x), x, noise.tensors) < 0.5, x.flip(3), x)
        x = _each_shifted(x, self.max_shift, noise.tensors)
        which, share = torch.rand(2, generator=noise.decisions).tolist()
        if which >= self.mix_ratio:
            return x
        others = x[torch.randperm(len(x), generator=noise.tensors, device=x.device)]
        if which < self.mix_ratio / 2:
            return torch.lerp(others, x, _uniform(len(x), x, noise.tensors).to(x.dtype))
        return _with_box(x, others, share, noise.decisions)


def shifted(x: Tensor, by: int, decisions: torch.Generator) -> Tensor:
    """Shift a batch of images (B, C, H, W) by one random number of pixels each way, up to `by`; zeros enter."""
    if not by:
        return x
    top, left = torch.randint(2 * by + 1, (2,), generator=decisions).tolist()
    return F.pad(x, [by] * 4)[:, :, top : top + x.shape[2], left : left + x.shape[3]]


def _each_shifted(x: Tensor, by: int, generator: torch.Generator) -> Tensor:
    """Shift each image of a batch (B, C, H, W) by random numbers of pixels of its own."""
    if not by:
        return x
    batch, _, height, width = x.shape
    top, left = torch.randint(2 * by + 1, (2, batch, 1), generator=generator, device=x.device)
    images = F.pad(x, [by] * 4).permute(0, 2, 3, 1)  # channels last, where a position is one piece of memory
    rows, columns = top + _arange(height, x.device), left + _arange(width, x.device)
    of = _arange(batch, x.device)[:, None, None]
    found = images[of, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return found if x.is_contiguous(memory_format=torch.channels_last) else found.contiguous()


_arange = cache(lambda count, device: torch.arange(count, device=device))


def _with_box(x: Tensor, others: Tensor, share: float, decisions: torch.Generator) -> Tensor:
    """Put the same box of the other images, a share of their area, into each image."""
    sides = [round(side * share**0.5) for side in x.shape[2:]]
    places = torch.rand(2, generator=decisions).tolist()
    rows, columns = (
        slice(start := int(place * (whole - side + 1)), start + side)
        for place, whole, side in zip(places, x.shape[2:], sides, strict=True)
    )
    x = x.clone()
    x[:, :, rows, columns] = others[:, :, rows, columns]
    return x


def _uniform(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand((count, 1, 1, 1), generator=generator, device=like.device)
