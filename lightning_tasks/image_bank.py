"""A store of invented images and of what the teacher says of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LARGEST = 4.0  # normalised images are kept in 255 steps from -LARGEST to LARGEST


class ImageBank:
    """The newest invented images as bytes, with the teacher's answers: a student learns from them without the teacher.

    A memory bank as of Fang et al. 2021, "Contrastive model inversion", https://arxiv.org/abs/2105.08584, section 3.2.
    An image is rounded to bytes first and then answered, so both belong together. It stays on the device of the images.

    Args:
        size: Number of images; the oldest make room.
        mirrored: Whether each image is kept mirrored too, with an answer of its own.
        mixed: Images that are added besides, as a share of the new ones: x = lambda x_i + (1 - lambda) x_j of new and
            kept ones with lambda uniform in [0, 1], which the teacher answers as any other (virtual interpolation, Qu
            et al. 2021, "Enhancing data-free adversarial distillation with activation regularization and virtual
            interpolation", https://arxiv.org/abs/2102.11638, section 2.3).

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, size: int = 8192, mirrored: bool = False, mixed: float = 0.0) -> None:
        if size < 2:
            raise ValueError(f"bank: size must be at least 2, got {size}")
        if not 0 <= mixed <= 1:
            raise ValueError(f"bank: mixed must be in [0, 1], got {mixed}")
        self.size = size
        self.mirrored = mirrored
        self.mixed = mixed
        self.clear()

    def clear(self) -> None:
        """Forget all images."""
        self._images = torch.empty(0, dtype=torch.uint8)
        self._answers = torch.empty(0)
        self._next = 0

    def __len__(self) -> int:
        return len(self._images)

    def add(self, x: Tensor, answer: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
        """Keep new images, mirrored and mixed ones too, in the place of the oldest.

        Args:
            x: Normalised images (B, C, H, W).
            answer: The teacher: maps images to logits (B, num_classes).
            generator: Of random numbers, on the device of the images.

        Returns:
            The answers to all that has been added, logits (N, num_classes) in float32.
        """
        added = [x, x.flip(3)] if self.mirrored else [x]
        if count := round(self.mixed * len(x)):
            kept = self.draw(count, generator)[0].to(x.dtype) if len(self) else x[:count]
            share = torch.rand((count, 1, 1, 1), generator=generator, device=x.device).to(x.dtype)
            added.append(torch.lerp(kept, x[:count], share))
        images = _to_bytes(torch.cat(added))[-self.size :]
        answers = answer(_from_bytes(images).to(x.dtype)).float()
        if not len(self):
            self._images, self._answers = images[:0], answers[:0]
        room = min(self.size - len(self), len(images))
        self._images = torch.cat([self._images, images[:room]])
        self._answers = torch.cat([self._answers, answers[:room]])
        places = (self._next + torch.arange(len(images) - room, device=x.device)) % self.size
        self._images[places], self._answers[places] = images[room:], answers[room:]
        self._next = (self._next + len(images) - room) % self.size
        return answers

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Choose images at random, each time anew: images (count, C, H, W) and logits (count, num_classes), float32."""
        places = torch.randint(len(self), (count,), generator=generator, device=generator.device)
        return _from_bytes(self._images[places]), self._answers[places]

    def state_dict(self) -> dict[str, Any]:
        """Give all that a resumed run needs."""
        return {"images": self._images, "answers": self._answers, "next": self._next}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Take it up again."""
        self._images, self._answers = state["images"].to(device), state["answers"].to(device)
        self._next = state["next"]


def _to_bytes(x: Tensor) -> Tensor:
    return ((x.detach().float() / LARGEST + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _from_bytes(images: Tensor) -> Tensor:
    return (images.float() / 127.5 - 1) * LARGEST
