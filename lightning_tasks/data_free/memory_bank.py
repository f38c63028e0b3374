"""A store of synthetic images and of what the teacher says of them."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_tasks.data_free.augmentation import shifted
from lightning_tasks.data_free.memory_check import memory
from lightning_tasks.data_free.noise import RandomSource

LARGEST = 4.0  # normalised images are kept in 255 steps from -LARGEST to LARGEST


class MemoryBank:
    """Synthetic images as bytes, with the teacher's answers: a student learns from them without the teacher.

    A memory bank as of Fang et al. 2021, "Contrastive model inversion", https://arxiv.org/abs/2105.08584, section 3.2.
    An image is rounded to bytes first and then answered, so both belong together. It stays on the device of the images.

    Args:
        size: Number of images; in a full bank the newest replace others.
        flip: Whether each image is kept flipped too, with an answer of its own.
        max_shift: Keep each image once more, shifted by up to so many pixels each way (one shift a batch; zeros at the
            free edge, the mean of normalised images), and flipped if `flip`, with an answer of its own.
        mix_ratio: Images that are added besides, as a share of the new ones: x = lambda x_i + (1 - lambda) x_j of new
            and kept ones with lambda uniform in [0, 1], which the teacher answers as any other (virtual interpolation,
            Qu et al. 2021, "Enhancing data-free adversarial distillation with activation regularization and virtual
            interpolation", https://arxiv.org/abs/2102.11638, section 2.3).
        eviction: Which images make room: the oldest, or those that were easiest for the student when it last saw them.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        size: int = 8192,
        flip: bool = False,
        max_shift: int = 0,
        mix_ratio: float = 0.0,
        eviction: Literal["oldest", "easiest"] = "oldest",
    ) -> None:
        if size < 2:
            raise ValueError(f"memory_bank.size must be at least 2, got {size}")
        if max_shift < 0:
            raise ValueError(f"memory_bank.max_shift must not be negative, got {max_shift}")
        if not 0 <= mix_ratio <= 1:
            raise ValueError(f"memory_bank.mix_ratio must be in [0, 1], got {mix_ratio}")
        self.size = size
        self.flip = flip
        self.max_shift = max_shift
        self.mix_ratio = mix_ratio
        self.eviction = eviction
        self._images = torch.empty(0, dtype=torch.uint8)
        self._answers = torch.empty(0)
        self._difficulty = torch.empty(0)
        self._filled = 0
        self._next = 0

    def __len__(self) -> int:
        return self._filled

    def require_room(self, image_shape: tuple[int, int, int], num_classes: int, device: torch.device) -> None:
        """Refuse to start with a bank for which there is no memory.

        Args:
            image_shape: Channels, height and width.
            num_classes: Length of an answer.
            device: On which the bank will be.

        Raises:
            ValueError: If the bank needs more bytes than the GPU has free, or than the machine has.
        """
        needed = self.size * (math.prod(image_shape) + 4 * num_classes)
        there, of = memory(device)
        if needed > there:
            raise ValueError(
                f"memory_bank: {self.size:,} images of shape {tuple(image_shape)} need {needed / 2**30:,.1f} GiB, and"
                f" {of} {there / 2**30:,.1f}; make it smaller"
            )

    def add(self, x: Tensor, answer: Callable[[Tensor], Tensor], noise: RandomSource) -> Tensor:
        """Store new images with their flipped, shifted and mixed copies; a full bank evicts by `eviction`.

        Args:
            x: Normalised images (B, C, H, W).
            answer: The teacher: maps images to logits (B, num_classes).
            noise: Source of random numbers, on the images' device.

        Returns:
            The answers to all that has been added, logits (N, num_classes) in float32.
        """
        added = [x]
        if self.flip or self.max_shift:
            added.append(shifted(x.flip(3) if self.flip else x, self.max_shift, noise.decisions))
        if count := round(self.mix_ratio * len(x)):
            kept = self.draw(count, noise)[0].to(x.dtype) if len(self) else x[:count]
            share = torch.rand((count, 1, 1, 1), generator=noise.tensors, device=x.device).to(x.dtype)
            added.append(torch.lerp(kept, x[:count], share))
        images = _to_bytes(torch.cat(added))[-self.size :]
        answers = answer(_from_bytes(images).to(x.dtype)).float()
        if not self._filled:
            self._images = images.new_empty((self.size, *images.shape[1:]))
            self._answers = answers.new_empty((self.size, answers.shape[1]))
            self._difficulty = answers.new_empty(self.size)
        places = self._places(len(images))
        self._images[places], self._answers[places] = images, answers
        self._difficulty[places] = math.inf  # until the student has seen them
        self._filled = min(self._filled + len(images), self.size)
        return answers

    def _places(self, count: int) -> Tensor:
        """Say where new images go: behind the newest, over the oldest, or in a full bank over the easiest."""
        if self.eviction == "easiest" and len(self) == self.size:
            return self._difficulty.topk(count, largest=False).indices
        places = (self._next + torch.arange(count, device=self._images.device)) % self.size
        self._next = (self._next + count) % self.size
        return places

    def draw(self, count: int, noise: RandomSource) -> tuple[Tensor, Tensor, Tensor]:
        """Choose images at random, each time anew.

        Returns:
            Images (count, C, H, W) and logits (count, num_classes), float32, and their places in the bank (count,).
        """
        places = torch.randint(len(self), (count,), generator=noise.tensors, device=self._images.device)
        return _from_bytes(self._images[places]), self._answers[places], places

    def rate(self, places: Tensor, difficulty: Tensor) -> None:
        """Take in how far the student was from the teacher on drawn images, both (count,)."""
        self._difficulty[places] = difficulty.detach().float()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: images, logits, difficulty, and where the next image goes."""
        kept = slice(self._filled)
        return {
            "images": self._images[kept].to("cpu", copy=True),
            "answers": self._answers[kept].to("cpu", copy=True),
            "difficulty": self._difficulty[kept].to("cpu", copy=True),
            "next": self._next,
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore the bank.

        Raises:
            ValueError: If it holds more images than `size`.
        """
        images, answers, difficulty = (state[name] for name in ("images", "answers", "difficulty"))
        self._filled, self._next = len(images), state["next"]
        if self._filled > self.size:
            raise ValueError(
                f"memory_bank: the checkpoint's has {self._filled:,} images, and there is room for {self.size:,}"
            )
        self._images = images.new_empty((self.size, *images.shape[1:]), device=device)
        self._answers = answers.new_empty((self.size, *answers.shape[1:]), device=device)
        self._difficulty = difficulty.new_empty(self.size, device=device)
        for kept, given in ((self._images, images), (self._answers, answers), (self._difficulty, difficulty)):
            kept[: self._filled] = given  # straight from the host: a second copy on a GPU may not fit


def _to_bytes(x: Tensor) -> Tensor:
    values = ((x.detach().float() / LARGEST + 1) * 127.5).round().clamp(0, 255)
    return values.nan_to_num(127.5).to(torch.uint8)  # nan has no byte: each device would choose another


def _from_bytes(images: Tensor) -> Tensor:
    return (images.float() / 127.5 - 1) * LARGEST
