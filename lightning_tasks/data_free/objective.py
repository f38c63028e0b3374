"""What a generator is trained towards in distillation without data."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_tasks.data_free.augmentation import shifted
from lightning_tasks.data_free.generator_losses import GeneratorLoss, SyntheticBatch
from lightning_tasks.data_free.noise import RandomSource
from lightning_tasks.data_free.option_group import OptionGroup
from lightning_tasks.frozen_teacher import FrozenTeacher, Observed


class ObjectiveOutput(NamedTuple):
    """The generator's loss of a batch of synthetic images.

    Attributes:
        loss: Loss of the generator, a scalar.
        parts: The values of `losses`, each with its name and without its weight.
        logits_t: The teacher's (B, num_classes).
    """

    loss: Tensor
    parts: list[tuple[str, Tensor]]
    logits_t: Tensor


class GeneratorObjective(OptionGroup):
    """The generator's loss: the weighted sum of `losses`, less the disagreement of student and teacher, weighted too.

    Args:
        losses: Further losses beside the disagreement. The paper's method has none.
        adversarial_weight: Weight of the disagreement; 1 in the paper.
        where_agreed: Count the disagreement, of logits, only of images whose argmax is the same in both networks.
        max_shift: Flip half of the batches, and shift them by up to so many pixels each way, before they are judged, as
            Fang et al. 2022, "Up to 100x faster data-free knowledge distillation", https://arxiv.org/abs/2112.06253.
            0, the paper's, judges them as they are.

    Raises:
        ValueError: If an option is negative, or nothing is left to be minimised.
    """

    def __init__(
        self,
        losses: list[GeneratorLoss] | None = None,
        adversarial_weight: float = 1.0,
        where_agreed: bool = False,
        max_shift: int = 0,
    ) -> None:
        for option, value in (("adversarial_weight", adversarial_weight), ("max_shift", max_shift)):
            if value < 0:
                raise ValueError(f"objective.{option} must not be negative, got {value}")
        if not adversarial_weight and not losses:
            raise ValueError("objective.adversarial_weight: with 0 and no losses the generator learns nothing")
        self.losses = losses or []
        self.adversarial_weight = adversarial_weight
        self.where_agreed = where_agreed
        self.max_shift = max_shift
        self.needs_student = adversarial_weight > 0 or any(each.needs_student for each in self.losses)
        self._observes = any(each.needs_statistics or each.needs_features for each in self.losses)

    def require_layers(self, teacher: FrozenTeacher) -> None:
        """Refuse a teacher that lacks what a loss looks at.

        Raises:
            ValueError: If it does.
        """
        for each in self.losses:
            if each.needs_statistics and not teacher.batchnorms:
                raise ValueError(
                    f"objective.losses: the teacher has no BatchNorm layer; leave {type(each).__name__} out"
                )
            if each.needs_features and teacher.last_linear is None:
                raise ValueError(f"objective.losses: the teacher has no linear layer; leave {type(each).__name__} out")

    def __call__(
        self, x: Tensor, y: Tensor | None, teacher: FrozenTeacher, student: nn.Module | None, noise: RandomSource
    ) -> ObjectiveOutput:
        """Compute the generator's loss.

        Args:
            x: Images (B, C, H, W) in the space of normalised images.
            y: The classes (B,) that the generator was asked for, if it was.
            teacher: The frozen teacher.
            student: The student; None, while the generator is pretrained, leaves out the losses that need it.
            noise: Source of random numbers, on the images' device.
        """
        if self.max_shift:
            flips = bool(torch.rand((), generator=noise.decisions) < 0.5)
            x = shifted(x.flip(3) if flips else x, self.max_shift, noise.decisions)
        seen = teacher.observe(x) if self._observes else Observed(teacher(x), None, None)
        logits_s = student(x) if student is not None and self.needs_student else None
        loss = x.new_zeros(())
        if logits_s is not None and self.adversarial_weight > 0:
            loss = -self.adversarial_weight * self.disagreement(logits_s, seen.logits)
        batch = SyntheticBatch(x, logits_s, seen.logits, seen.statistics, y, seen.features)
        parts: list[tuple[str, Tensor]] = []
        for each in self.losses:
            if each.needs_student and logits_s is None:
                continue
            value = each(batch)
            parts.append((str(each.name), value))
            loss = loss + each.weight * value
        return ObjectiveOutput(loss, parts, seen.logits)

    def disagreement(self, logits_s: Tensor, logits_t: Tensor) -> Tensor:
        """Compute the mean absolute difference of logits (B, num_classes), in float32: the paper's model discrepancy.

        With `where_agreed` it is of the images whose class both networks agree on; 0 of none.
        """
        if self.where_agreed:
            agreed = logits_s.argmax(dim=1) == logits_t.argmax(dim=1)
            differences = (logits_s.float() - logits_t.float()).abs().mean(dim=1)
            return (differences * agreed).mean()
        return F.l1_loss(logits_s.float(), logits_t.float())
