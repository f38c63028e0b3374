"""What a generator is trained towards in distillation without data."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_tasks.data_free.adversarial_loss import AdversarialL1Loss
from lightning_tasks.data_free.augmentation import shifted
from lightning_tasks.data_free.generator_losses import GeneratorLoss, Invented
from lightning_tasks.data_free.noise import Noise
from lightning_tasks.frozen_teacher import FrozenTeacher, Observed


class Judged(NamedTuple):
    """What came of a batch of inventions.

    Attributes:
        loss: What the generator minimises, a scalar.
        parts: Its further losses, each with its name and without its weight.
        logits_t: The teacher's (B, num_classes).
    """

    loss: Tensor
    parts: list[tuple[str, Tensor]]
    logits_t: Tensor


class GeneratorObjective(nn.Module):
    """The negative disagreement of student and teacher, and further losses, by their weights.

    Args:
        losses: Beside the disagreement.
        adversarial_weight: Of the disagreement.
        where_agreed: Count the disagreement only of images on which both networks name the same class.
        shift: Mirror half of the batches, and shift them by up to so many pixels each way, before they are judged.

    Raises:
        ValueError: If a weight is negative, or nothing is left to be minimised.
    """

    def __init__(
        self,
        losses: Sequence[GeneratorLoss] = (),
        adversarial_weight: float = 1.0,
        where_agreed: bool = False,
        shift: int = 0,
    ) -> None:
        super().__init__()
        if adversarial_weight < 0:
            raise ValueError(f"adversarial_weight must not be negative, got {adversarial_weight}")
        if not adversarial_weight and not losses:
            raise ValueError("adversarial_weight: with 0 and no generator_losses the generator learns nothing")
        self.losses = nn.ModuleList(losses)
        self.adversarial_weight = adversarial_weight
        self.where_agreed = where_agreed
        self.shift = shift
        self._observes = any(each.needs_statistics or each.needs_features for each in losses)
        self._difference = AdversarialL1Loss()

    def require_layers(self, teacher: FrozenTeacher) -> None:
        """Refuse a teacher that lacks what a loss looks at.

        Raises:
            ValueError: If it does.
        """
        for each in self.losses:
            if each.needs_statistics and not teacher.batchnorms:
                raise ValueError(
                    f"generator_losses: the teacher has no BatchNorm layer; leave {type(each).__name__} out"
                )
            if each.needs_features and teacher.last_linear is None:
                raise ValueError(f"generator_losses: the teacher has no linear layer; leave {type(each).__name__} out")

    def forward(
        self, x: Tensor, y: Tensor | None, teacher: FrozenTeacher, student: nn.Module | None, noise: Noise
    ) -> Judged:
        """Judge a batch.

        Args:
            x: Images (B, C, H, W) in the space of normalised images.
            y: The classes (B,) that the generator was asked for, if it was.
            teacher: Answers.
            student: Answers too; None leaves the disagreement out.
            noise: Of random numbers, on the device of the images.
        """
        if self.shift:
            mirrored = bool(torch.rand((), generator=noise.decisions) < 0.5)
            x = shifted(x.flip(3) if mirrored else x, self.shift, noise.decisions)
        seen = teacher.observe(x) if self._observes else Observed(teacher(x), None, None)
        logits_s = student(x) if student is not None and self.adversarial_weight > 0 else None
        loss = x.new_zeros(())
        if logits_s is not None:
            loss = -self.adversarial_weight * self.disagreement(logits_s, seen.logits)
        invented = Invented(x, logits_s, seen.logits, seen.statistics, y, seen.features)
        parts: list[tuple[str, Tensor]] = []
        for each in self.losses:
            value = each(invented)
            parts.append((str(each.name), value))
            loss = loss + each.weight * value
        return Judged(loss, parts, seen.logits)

    def disagreement(self, logits_s: Tensor, logits_t: Tensor) -> Tensor:
        """Compute the adversarial loss of all images, or of those whose class both networks agree on; 0 of none."""
        if self.where_agreed:
            agreed = logits_s.argmax(dim=1) == logits_t.argmax(dim=1)
            differences = (logits_s.float() - logits_t.float()).abs().mean(dim=1)
            return (differences * agreed).mean()
        return self._difference(logits_s, logits_t)
