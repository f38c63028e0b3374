"""How student and generator are trained in data-free distillation."""

from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_tasks.data_free.feature_loss import FeatureLoss
from lightning_tasks.data_free.feature_matching import require_feature_layers
from lightning_tasks.data_free.meta_generator import MetaGenerator
from lightning_tasks.data_free.objective import GeneratorObjective
from lightning_tasks.data_free.option_group import OptionGroup
from lightning_tasks.losses import SoftTargetLoss
from lightning_tasks.networks import ImageNetwork, require_narrower
from lightning_tasks.schedules import require_periods


class StudentTraining(OptionGroup):
    """Loss, steps and optimizer of the student. The defaults are the authors' of DFAD for CIFAR.

    Args:
        steps: Student steps in a round (k of the paper: 5).
        optimizer: Optimizer of the student.
        scheduler: Learning rate schedule, stepped once an epoch after the generator's pretraining.
        l1_weight: Weight of the absolute difference of logits; 1 in the paper.
        soft_loss: Added to the loss, on the same images. None in the paper.
        feature_loss: Added to the loss, on the same images. It costs one more pass of the teacher per batch, which it
            shares with an augmentation. None in the paper.
        reconstruct: Once the generator is pretrained, fit the student's layers one by one to the teacher's on synthetic
            images, see reconstruct; the student must be the teacher, but narrower.

    Raises:
        ValueError: If an option is out of range, or nothing is left to be minimised.
    """

    def __init__(
        self,
        steps: int = 5,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=5e-4),
        scheduler: LRSchedulerCallable | None = None,
        l1_weight: float = 1.0,
        soft_loss: SoftTargetLoss | None = None,
        feature_loss: FeatureLoss | None = None,
        reconstruct: bool = False,
    ) -> None:
        if steps < 1:
            raise ValueError(f"student_training.steps must be at least 1, got {steps}")
        if l1_weight < 0:
            raise ValueError(f"student_training.l1_weight must not be negative, got {l1_weight}")
        if not l1_weight and soft_loss is None and feature_loss is None:
            raise ValueError("student_training.l1_weight: with 0 and no other loss the student learns nothing")
        self.steps = steps
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.l1_weight = l1_weight
        self.soft_loss = soft_loss
        self.feature_loss = feature_loss
        self.reconstruct = reconstruct

    def require_layers(self, student: ImageNetwork, teacher: ImageNetwork, compiled: bool) -> None:
        """Refuse networks whose layers do not suit the feature loss, see require_feature_layers, or reconstruct."""
        if self.feature_loss is not None:
            require_feature_layers(self.feature_loss, student, teacher, compiled)
        if self.reconstruct:
            try:
                require_narrower(student.inner, teacher.inner)
            except ValueError as error:
                raise ValueError(f"student_training.reconstruct: {error}") from None

    def configure(self, student: nn.Module) -> dict[str, Any]:
        """Build optimizer and schedule of the student, as `configure_optimizers` returns them."""
        return _optimization(student, self.optimizer, self.scheduler, "lr/student")

    def loss(self, logits_s: Tensor, logits_t: Tensor, loss_features: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Compute the student's loss.

        Args:
            logits_s: Logits of the student (B, num_classes).
            logits_t: Logits of the teacher (B, num_classes).
            loss_features: Value of `feature_loss` with its weight, if there is one.

        Returns:
            The loss, a scalar, and the value of `soft_loss` in it, if there is one.
        """
        loss = F.l1_loss(logits_s.float(), logits_t.float())
        if self.l1_weight != 1:
            loss = self.l1_weight * loss
        if loss_features is not None:
            loss = loss + loss_features
        if self.soft_loss is None:
            return loss, None
        soft = self.soft_loss(logits_s, logits_t, logits_t.argmax(dim=1))
        return loss + soft, soft


class GeneratorTraining(OptionGroup):
    """Steps and optimizer of the generator. The defaults are the authors' of DFAD for CIFAR.

    Args:
        steps: Generator steps in a round; with a meta generator, its steps to a batch.
        optimizer: Optimizer of the generator.
        scheduler: Learning rate schedule, stepped once an epoch.
        pretrain_epochs: First epochs, in which the generator alone is trained, without the disagreement; the student
            waits.
        meta_generator: Make each batch in `steps` steps from a common start, before the student's turn, see there; it
            needs a memory bank, and an average of the generator then serves evaluation alone. None, the paper's, has
            one generator that moves on.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        steps: int = 1,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        pretrain_epochs: int = 0,
        meta_generator: MetaGenerator | None = None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"generator_training.steps must be at least 1, got {steps}")
        if pretrain_epochs < 0:
            raise ValueError(f"generator_training.pretrain_epochs must not be negative, got {pretrain_epochs}")
        self.steps = steps
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.pretrain_epochs = pretrain_epochs
        self.meta_generator = meta_generator

    def configure(self, generator: nn.Module) -> dict[str, Any]:
        """Build optimizer and schedule of the generator, as `configure_optimizers` returns them."""
        return _optimization(generator, self.optimizer, self.scheduler, "lr/generator")

    def require(self, objective: GeneratorObjective, has_memory_bank: bool) -> None:
        """Refuse pretraining without a loss, and a meta generator without a memory bank.

        Raises:
            ValueError: If something is missing.
        """
        if self.pretrain_epochs and all(each.needs_student for each in objective.losses):
            raise ValueError(
                "generator_training.pretrain_epochs: without objective.losses that need no student the generator learns"
                " nothing"
            )
        if self.meta_generator is not None and not has_memory_bank:
            raise ValueError("generator_training.meta_generator: it needs a memory_bank, for each batch is made once")

    def require_epochs(self, epochs: int | None) -> None:
        """Refuse a run whose last epoch is one of the pretraining.

        Raises:
            ValueError: If the student would not learn.
        """
        if self.pretrain_epochs and epochs is not None and -1 < epochs <= self.pretrain_epochs:
            raise ValueError(
                f"generator_training.pretrain_epochs: {self.pretrain_epochs} of {epochs} epochs leave the student none"
            )


def _optimization(
    network: nn.Module, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None, name: str
) -> dict[str, Any]:
    built = optimizer(network.parameters())
    if scheduler is None:
        return {"optimizer": built}
    schedule = scheduler(built)
    require_periods(schedule)
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "name": name}}
