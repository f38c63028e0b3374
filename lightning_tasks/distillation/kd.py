"""Distillation with data: a student learns from labels and from the answers of a frozen teacher."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lightning_tasks.distillation.base import DistillationTask
from lightning_tasks.distillation.dot import DistillationOrientedSGD
from lightning_tasks.image_task import share_right
from lightning_tasks.losses import CrossEntropyLoss, HintonLoss, SoftTargetLoss
from lightning_tasks.networks import (
    ImageNetwork,
    ImageShape,
    Initialisation,
    NetworkCallable,
    build_network,
    initialise,
)
from lightning_tasks.runs.data_spec import ImageDataSpec
from lightning_tasks.schedules import Interval, planned


class KDTask(DistillationTask):
    """Trains a student with (1 - alpha) cross-entropy + alpha times the distance from its teacher's answers.

    Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531. Logs `train/loss`, `train/loss_hard`
    (cross-entropy, nats), `train/loss_soft` (see the soft loss) and `train/acc`, on top of DistillationTask's metrics.

    Args:
        data_spec: See ImageDataSpec; it must be the teacher's.
        teacher: See DistillationTask.
        student: See DistillationTask.
        teacher_ckpt: See DistillationTask.
        distil: Whether the student learns from the teacher; else from labels alone, for comparison, while the
            agreement with the teacher is measured all the same.
        soft_loss: Distance of the student's answers from the teacher's. Default: HintonLoss.
        alpha: Weight of the soft loss, in [0, 1]; that of the labels is 1 - alpha.
        cached_epochs: After this many epochs, repeat their batches, augmentation and all, with the teacher's answers
            that were kept, in float16: the teacher then costs no more time (Shen and Xing 2022, "A fast knowledge
            distillation framework for visual recognition", https://arxiv.org/abs/2112.01528). 1 where images are not
            augmented. Each epoch has its own batches, and asks the teacher, if not given.
        initialisation: Draw the student's weights anew, by this rule; else they start as its class says.
        optimizer: Optimizer of the student. DistillationOrientedSGD has a momentum for each of the two losses.
        scheduler: See ClassificationTask.
        scheduler_interval: See ClassificationTask.
        label_smoothing: Label smoothing of the cross-entropy, see CrossEntropyLoss.
        **options: See DistillationTask.

    Raises:
        ValueError: If an option is out of range, and see DistillationTask.
    """

    watched: Mapping[str, Mapping[str, str]] = {
        **DistillationTask.watched,
        "cross-entropy": {
            "val/loss": "validation",
            "val/loss_ema": "validation, averaged weights",
            "train/loss_hard": "training",
        },
        "losses of training": {
            "train/loss": "both, by their weights",
            "train/loss_hard": "cross-entropy",
            "train/loss_soft": "distance from the teacher's answers",
        },
    }

    def __init__(
        self,
        data_spec: ImageDataSpec,
        teacher: NetworkCallable,
        student: NetworkCallable,
        teacher_ckpt: str | None,
        distil: bool = True,
        soft_loss: SoftTargetLoss | None = None,
        alpha: float = 0.9,
        cached_epochs: int | None = None,
        initialisation: Initialisation | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Interval = "epoch",
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        drawn = student if initialisation is None else initialised(student, initialisation)
        super().__init__(data_spec, teacher, drawn, teacher_ckpt, **options)
        self.save_hyperparameters()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {alpha}")
        if cached_epochs is not None and cached_epochs < 1:
            raise ValueError(f"cached_epochs must be at least 1, got {cached_epochs}")
        if initialisation is not None and self.student_from_teacher:
            raise ValueError("initialisation: the student starts with weights of its teacher; leave one of both out")
        self.distil = distil
        self.soft_loss = soft_loss or HintonLoss()
        self.alpha = alpha
        self.cached_epochs = cached_epochs
        self.hard_loss = CrossEntropyLoss(label_smoothing)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self._answers: dict[tuple[int, ...], Tensor] = {}  # of the teacher, by view, number of the batch and size

    @property
    def data_epoch(self) -> int:
        """Begin with the first view again after the last."""
        return self.current_epoch if self.cached_epochs is None else self.current_epoch % self.cached_epochs

    def on_train_start(self) -> None:
        """Do what every task does, and forget the answers of an earlier `fit`, which may be to other images."""
        super().on_train_start()
        self._answers.clear()

    def on_train_epoch_start(self) -> None:
        """Draw the samples, and augment them, as in the epoch that is repeated."""
        super().on_train_epoch_start()
        self.trainer.train_dataloader.sampler.set_epoch(self.data_epoch)  # type: ignore[union-attr]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute both losses of one batch."""
        x, y = batch
        logits = self._student_logits(x, batch_idx)
        hard = loss = self.hard_loss(logits, y)
        if self.distil:
            soft = self.soft_loss(logits, self._taught(x, batch_idx), y)
            self._losses = (1 - self.alpha) * hard, self.alpha * soft
            loss = sum(self._losses)
            self.track("loss_soft", soft, len(y))
        self.track("loss_hard", hard, len(y))
        self.track("loss", loss, len(y))
        self.track("acc", share_right(logits, y), len(y))
        return loss

    def _student_logits(self, x: Tensor, batch_idx: int) -> Tensor:
        """Give the student's logits (B, num_classes), with new dropout masks where a batch is repeated."""
        if self.cached_epochs is None:
            return self.student(x)
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            torch.manual_seed(self.epoch_seed(self.current_epoch) + batch_idx)
            return self.student(x)

    def _taught(self, x: Tensor, batch_idx: int) -> Tensor:
        """Give the teacher's logits (B, num_classes), kept ones if the batch has been there before."""
        if self.cached_epochs is None:
            with torch.no_grad():
                return self.teacher(x)
        key = self.data_epoch, batch_idx, *x.shape[2:]  # ProgressiveResize shows a view in other sizes later
        if key not in self._answers:
            with torch.no_grad():
                self._answers[key] = self.teacher(x).half()
        return self._answers[key]  # rounded from the first, so that a resumed run sees the same

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute one gradient, or one of each loss for an optimizer that treats them apart."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        if self.distil and isinstance(optimizer, DistillationOrientedSGD):
            optimizer.backward(*self._losses)
        else:
            super().backward(loss, *args, **kwargs)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer of the student, and the schedule under the name `lr`.

        Raises:
            ValueError: If two gradients are asked for where only the sum of the losses is scaled, clipped or shared.
        """
        optimizer = self.optimizer(self.student.parameters())
        if isinstance(optimizer, DistillationOrientedSGD) and (
            self.trainer.world_size > 1
            or self.trainer.precision == "16-mixed"
            or self.trainer.accumulate_grad_batches > 1
            or self.trainer.gradient_clip_val
        ):
            raise ValueError(
                "DistillationOrientedSGD works on one device, without accumulation and gradient clipping, and not with"
                " 16-mixed"
            )
        return planned(self, self.scheduler, optimizer, self.scheduler_interval)


def initialised(network: NetworkCallable, initialisation: Initialisation) -> NetworkCallable:
    """Let what builds a network draw its weights anew too."""

    def build(num_classes: int, image_shape: ImageShape) -> ImageNetwork:
        built = build_network(network, num_classes, image_shape)
        initialise(built, initialisation)
        return built

    return build
