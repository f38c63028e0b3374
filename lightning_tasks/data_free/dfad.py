"""Data-free adversarial distillation: a student learns from a frozen teacher on images that a generator synthesises.

Fang et al. 2019, "Data-Free Adversarial Distillation", https://arxiv.org/abs/1912.11006.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jsonargparse import lazy_instance
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_tasks.data_free.augmentation import Augmentation
from lightning_tasks.data_free.base import DataFreeTask
from lightning_tasks.data_free.batch_counts import BatchCounts
from lightning_tasks.data_free.devices import average_gradients, local_gradients
from lightning_tasks.data_free.feature_loss import Hint
from lightning_tasks.data_free.feature_matching import FeatureMatching
from lightning_tasks.data_free.memory_bank import MemoryBank
from lightning_tasks.data_free.meta_generator import MetaGenerator
from lightning_tasks.data_free.objective import GeneratorObjective
from lightning_tasks.data_free.stopwatch import Stopwatch
from lightning_tasks.data_free.student_batch import StudentBatch
from lightning_tasks.data_free.student_start import reconstruct_student
from lightning_tasks.data_free.training import GeneratorTraining, StudentTraining
from lightning_tasks.networks import NetworkCallable
from lightning_tasks.runs.data_spec import ImageDataSpec
from lightning_tasks.schedules import step_schedules


class DFADTask(DataFreeTask):
    """A student learns from a frozen teacher, and a generator learns to make images on which they disagree.

    Each training step is one round of the paper's Algorithm 1: the student takes k steps to answer as the teacher does
    on fresh synthetic images, then the generator takes a step towards images on which they disagree. No real image is
    read in training; the training loader yields step numbers.

    Logs `train/loss_student`, `train/loss_soft` and `train/loss_features` (see StudentTraining), `train/loss_generator`
    and `train/loss_<name>` of each further loss (see GeneratorObjective), and the shares of an epoch's time that go to
    making and answering images, `train/time_share_synthesis`, to the student's steps, `train/time_share_student`, and
    to the generator's, `train/time_share_generator`, on top of DataFreeTask's metrics.

    From Python, with two modules `net` and `small` that map images to logits::

        data = NoImages(10, image_shape=(1, 16, 16), mean=(0.5,), std=(0.5,), steps_per_epoch=50)
        task = DFADTask(data.data_spec, teacher=net, student=small, teacher_ckpt=None)
        Trainer(max_epochs=50).fit(task, datamodule=data)

    Args:
        data_spec: See ImageDataSpec; it must be the teacher's.
        teacher: See DistillationTask.
        student: See DistillationTask.
        teacher_ckpt: See DistillationTask.
        student_training: Loss, steps and optimizer of the student.
        generator_training: Steps and optimizer of the generator.
        objective: Objective of the generator.
        memory_bank: Let the student learn from a store of synthetic images, to which each round adds one batch. None,
            the paper's method, synthesises a batch for each of the student's steps, which the teacher answers.
        augmentation: Show the student an augmented image each time, which the teacher answers anew. None, the paper's,
            shows it as it is.
        gradient_clip_norm: Clip the gradient norm of each network to this, if given.
        **options: See DataFreeTask.

    Raises:
        ValueError: If an option is out of range, and see DataFreeTask.
    """

    units: Mapping[str, str] = {
        **DataFreeTask.units,
        "loss_student": "logits",
        "loss_generator": "logits",
        "loss_features": "relative to the teacher's",
        "loss_statistics": "activations",
        "loss_activation": "activations",
        "loss_diversity": "1 - cosine",
    }
    watched: Mapping[str, Mapping[str, str]] = {
        **DataFreeTask.watched,
        "loss of the student": {"train/loss_student": ""},
        "loss of the generator": {"train/loss_generator": ""},
    }
    diagnosed: Mapping[str, Mapping[str, str]] = {
        **DataFreeTask.diagnosed,
        "time of an epoch": {
            "train/time_share_student": "student",
            "train/time_share_synthesis": "images and answers",
            "train/time_share_generator": "generator",
        },
    }

    def __init__(
        self,
        data_spec: ImageDataSpec,
        teacher: NetworkCallable,
        student: NetworkCallable,
        teacher_ckpt: str | None,
        student_training: StudentTraining = lazy_instance(StudentTraining),
        generator_training: GeneratorTraining = lazy_instance(GeneratorTraining),
        objective: GeneratorObjective = lazy_instance(GeneratorObjective),
        memory_bank: MemoryBank | None = None,
        augmentation: Augmentation | None = None,
        gradient_clip_norm: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(data_spec, teacher, student, teacher_ckpt, **options)
        self.save_hyperparameters()
        objective.require_layers(self.teacher)
        generator_training.require(objective, memory_bank is not None)
        student_training.require_layers(self.student, self.teacher.network, self.compile_networks)
        if student_training.reconstruct and not generator_training.pretrain_epochs:
            raise ValueError(
                "student_training.reconstruct: it needs images of a pretrained generator (pretrain_epochs)"
            )
        side = min(self.image_shape[1:])
        for name, part in (("objective", objective), ("memory_bank", memory_bank), ("augmentation", augmentation)):
            if (by := part.max_shift if part is not None else 0) >= side:
                raise ValueError(f"{name}.max_shift must be less than the {side} pixels of a side, got {by}")
        if memory_bank is not None and memory_bank.size < self.batch_size:
            raise ValueError(f"memory_bank.size must be at least batch_size, {self.batch_size}, got {memory_bank.size}")
        if gradient_clip_norm is not None and gradient_clip_norm <= 0:
            raise ValueError(f"gradient_clip_norm must be positive, got {gradient_clip_norm}")
        self.automatic_optimization = False
        self.student_training = student_training
        self.generator_training = generator_training
        self.objective = objective
        self.memory_bank = memory_bank
        self.augmentation = augmentation
        self.gradient_clip_norm = gradient_clip_norm
        losses = [*objective.losses, student_training.soft_loss, student_training.feature_loss]
        self.losses = nn.ModuleList(each for each in losses if each is not None)  # for what they may have on a device
        self._counts = BatchCounts(self.student)
        self._features: FeatureMatching | None = None
        self._channels: dict[str, Tensor] = {}  # of the teacher, that those of a reconstructed student stand for

    def configure_optimizers(self) -> Any:
        """Build an optimizer and a schedule for each network that learns."""
        return self.student_training.configure(self.student), self.generator_training.configure(self.generator)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the memory bank too, and what the student's channels stand for."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["channels"] = self._channels
        if self.memory_bank is not None:
            checkpoint["memory_bank"] = self.memory_bank.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the memory bank, and what the student's channels stand for."""
        super().on_load_checkpoint(checkpoint)
        self._channels |= {name: each.to(self.device) for name, each in checkpoint.get("channels", {}).items()}
        if self.memory_bank is not None and "memory_bank" in checkpoint:
            self.memory_bank.load_state_dict(checkpoint["memory_bank"], self.device)

    def on_fit_start(self) -> None:
        """Do what every distillation does; refuse a memory bank beyond memory, and a student without time.

        `sync_batchnorm` has replaced layers by now, so those that show their features are found here.
        """
        super().on_fit_start()
        self.generator_training.require_epochs(self.trainer.max_epochs)
        if self.memory_bank is not None:
            self.memory_bank.require_room(self.image_shape, self.num_classes, self.device)
        if (loss := self.student_training.feature_loss) is not None:
            networks = self.student, self.teacher.network
            self._features = FeatureMatching(loss, *networks, self.compile_networks, self._channels)
            with self.trainer.precision_plugin.forward_context():
                self._features.measure(torch.zeros((2, *self.image_shape), device=self.device).to(self.dtype))

    def on_train_epoch_start(self) -> None:
        """Do what every task does, and start the clock; after the generator's pretraining, reconstruct the student."""
        super().on_train_epoch_start()
        if self.student_training.reconstruct and self.current_epoch == self.generator_training.pretrain_epochs:
            self._channels |= reconstruct_student(self)
        self._stopwatch = Stopwatch(self.device)

    @property
    def pretrains_generator(self) -> bool:
        """Whether the student still waits for the generator."""
        return self.current_epoch < self.generator_training.pretrain_epochs

    # One round: Algorithm 1 of the paper

    def training_step(self, batch: int, batch_idx: int) -> None:
        """Train the student, then the generator; a meta generator comes first, since it makes the student's batch."""
        with local_gradients(self), self._counts.together():
            self.training_round(*self.optimizers())

    def training_round(self, optimizer_student: LightningOptimizer, optimizer_generator: LightningOptimizer) -> None:
        """Train both networks for a step; a method with another order of steps overrides this."""
        made = None
        meta_generator = self.generator_training.meta_generator
        if meta_generator is not None:
            with self._stopwatch.part("generator"):
                made = self._train_meta_generator(optimizer_generator, meta_generator)
        if not self.pretrains_generator:
            with self._stopwatch.part("synthesis"):
                batches = self._student_batches(made)
            with self._stopwatch.part("student"):
                self.train_student(optimizer_student, batches)
        if meta_generator is None:
            with self._stopwatch.part("generator"):
                self.train_generator(optimizer_generator)

    def train_student(self, optimizer: LightningOptimizer, batches: list[StudentBatch]) -> None:
        """Train the student to match the teacher, one step on each batch."""
        answers = []
        for batch in batches:
            logits, loss_features = self._answer(batch)
            loss, soft = self.student_training.loss(logits, batch.target, loss_features)
            if soft is not None:
                self.track("loss_soft", soft, len(batch.x))
            self._step(self.student, optimizer, loss)
            self.update_average()
            self.track("loss_student", loss, len(batch.x))
            answers.append(logits.detach())
        if self.memory_bank is not None:
            places = torch.cat([each.places for each in batches if each.places is not None])
            targets = torch.cat([each.target for each in batches])
            self.memory_bank.rate(places, (torch.cat(answers).float() - targets).abs().mean(dim=1))

    def train_generator(self, optimizer: LightningOptimizer) -> None:
        """Train the generator to make images on which student and teacher disagree."""
        with self.toggled_optimizer(optimizer):  # spares the gradients of the student's weights
            for _ in range(self.generator_training.steps):
                self._step(self.generator, optimizer, self._generator_loss(*self.synthesise(self.generator)))
                self.average_generator()

    def _train_meta_generator(self, optimizer: LightningOptimizer, meta_generator: MetaGenerator) -> Tensor:
        """Make a batch in a few steps from the generator, and move the generator towards where they lead."""
        with self.toggled_optimizer(optimizer):
            z, y = self.draw_noise(self.batch_size, self._noise.tensors)
            x = meta_generator.synthesise(
                self.generator,
                z.to(self.dtype),
                self.generator_training.steps,
                lambda x: self._generator_loss(x, y),
                self.manual_backward,
                self._gradient_scale(),
            )
            average_gradients(self, self.generator)
            optimizer.step()
        self.average_generator()
        return x

    def _generator_loss(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Compute what the generator minimises, of a batch of its images and the classes that it was asked for."""
        student = None if self.pretrains_generator else self.student
        if student is not None and self.objective.needs_student:
            self._counts.add()
        loss, parts, logits_t = self.objective(x, y, self.teacher, student, self._noise)
        for name, value in parts:
            self.track(f"loss_{name}", value, len(x))
        self.track("loss_generator", loss, len(x))
        if self.pretrains_generator:
            self.count_classes(logits_t)
        return loss

    # The student's batches

    @torch.no_grad()
    def _student_batches(self, made: Tensor | None) -> list[StudentBatch]:
        """Give the student's batches of a round; what was made for it, or a new batch, goes into the memory bank.

        The generator does not change meanwhile, so without a memory bank all its batches are made first, and the
        teacher, which has no batch statistics in eval mode, sees them in one pass.
        """
        steps = self.student_training.steps
        if self.memory_bank is not None:
            x = self.synthesise(self.synthesiser)[0] if made is None else made
            self.count_classes(self.memory_bank.add(x, self.teacher, self._noise))
            drawn = self.memory_bank.draw(steps * self.batch_size, self._noise)
            parts = (each.split(self.batch_size) for each in drawn)
            batches = [StudentBatch(x.to(self.dtype), target, places) for x, target, places in zip(*parts, strict=True)]
        else:
            images = [self.synthesise(self.synthesiser)[0] for _ in range(steps)]
            logits_t = self.teacher(torch.cat(images))
            self.count_classes(logits_t)
            batches = [StudentBatch(*each) for each in zip(images, logits_t.split(self.batch_size), strict=True)]
        if self.augmentation is not None:
            batches = [each._replace(x=self.augmentation(each.x, self._noise)) for each in batches]
        if self.augmentation is None and self._features is None:
            return batches
        return [
            each._replace(target=target, hint=hint)
            for each, (target, hint) in zip(batches, self._ask_teacher([each.x for each in batches]), strict=True)
        ]

    def _ask_teacher(self, batches: list[Tensor]) -> list[tuple[Tensor, Hint | None]]:
        """Give the teacher's logits of batches, and its features if a loss asks for them.

        A GPU takes all batches in one pass, of fewer kernels; a CPU one by one, since its caches do not hold more.
        """
        if self.device.type == "cpu" and len(batches) > 1:
            return [found for x in batches for found in self._ask_teacher([x])]
        x = torch.cat(batches)
        hints: Sequence[Hint | None] = [None] * len(batches)
        if self._features is None:
            logits = self.teacher(x)
        else:
            logits, hints = self._features.teacher(x, len(batches))
        return list(zip(logits.float().chunk(len(batches)), hints, strict=True))

    def _answer(self, batch: StudentBatch) -> tuple[Tensor, Tensor | None]:
        """Give the student's logits, and how far its features are from the teacher's, by the weight of that."""
        self._counts.add()
        if self._features is None or batch.hint is None:
            return self.student(batch.x), None
        logits, distance = self._features.student(batch.x, batch.hint)
        self.track("loss_features", distance, len(logits))
        assert self.student_training.feature_loss is not None
        return logits, self.student_training.feature_loss.weight * distance

    # Optimization

    def _step(self, network: nn.Module, optimizer: LightningOptimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        average_gradients(self, network)
        optimizer.step()

    def _gradient_scale(self) -> Tensor | None:
        """Give the factor by which float16 keeps gradients from vanishing, without waiting for the device."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return None if scaler is None else scaler.scale(torch.ones((), device=self.device))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip here, where mixed precision has unscaled the gradients."""
        if self.gradient_clip_norm is not None:
            self.clip_gradients(optimizer, self.gradient_clip_norm, "norm")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do what every data-free task does, and read the clock after the last round of the epoch."""
        if self.trainer.is_last_batch:
            for name, share in self._stopwatch.shares().items():
                self.log(f"train/time_share_{name}", share, on_step=False, on_epoch=True, batch_size=1)
        super().on_train_batch_end(outputs, batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        """Restart a collapsed generator, now that its epoch is validated; step the schedules."""
        if self.collapsed and self.on_collapse == "restart":
            self.restart_generator()
            self.trainer.optimizers[1].state.clear()  # moments of the former's gradients
        step_schedules(self, but=[self.trainer.optimizers[0]] if self.pretrains_generator else [])
