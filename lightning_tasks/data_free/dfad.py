"""Data-free adversarial distillation: a student learns from a frozen teacher on images that a generator invents.

Fang et al. 2019, "Data-Free Adversarial Distillation", https://arxiv.org/abs/1912.11006.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_tasks.data_free.adversarial_loss import AdversarialL1Loss
from lightning_tasks.data_free.augmentation import Views
from lightning_tasks.data_free.base import DataFreeTask
from lightning_tasks.data_free.batch_counts import BatchCounts
from lightning_tasks.data_free.devices import average_gradients, local_gradients
from lightning_tasks.data_free.feature_loss import FeatureLoss, Hint
from lightning_tasks.data_free.generator_losses import GeneratorLoss
from lightning_tasks.data_free.memory_bank import ImageBank
from lightning_tasks.data_free.meta_generator import MetaGenerator
from lightning_tasks.data_free.objective import GeneratorObjective
from lightning_tasks.data_free.stopwatch import Stopwatch
from lightning_tasks.losses import SoftTargetLoss
from lightning_tasks.networks import NetworkCallable, WithFeatures, are_parts, require_layers, undisturbed
from lightning_tasks.runs.data_spec import ImageFacts
from lightning_tasks.schedules import require_periods


class Lesson(NamedTuple):
    """A batch that the student learns from.

    Attributes:
        x: Images (B, C, H, W).
        target: The teacher's logits (B, num_classes).
        places: Where in the bank the images are (B,), if they are there.
        hint: What the teacher's layers give, if a loss asks for them.
    """

    x: Tensor
    target: Tensor
    places: Tensor | None = None
    hint: Hint | None = None


class DFADTask(DataFreeTask):
    """The game of a student and a generator before a frozen teacher.

    Each training step plays one round: the student takes `student_steps` steps to answer as the teacher does on fresh
    invented images, then the generator takes `generator_steps` steps towards images on which they disagree. No real
    image is read in training; the training loader yields step numbers.

    Logs `train/loss_student` (mean absolute difference of logits, `soft_loss` and `feature_loss`, by their weights),
    `train/loss_features` with the last, `train/loss_generator` (the negative of the difference, with the generator's
    further losses by their weights), `train/loss_<name>` of each of these, and of the time of an epoch the shares of
    making and answering images, `train/time_inventing`, of the student's steps, `train/time_student`, and of the
    generator's, `train/time_generator`, on top of DataFreeTask's metrics.

    From Python, with two modules `net` and `small` that map images to logits:

        data = NoImages(10, image_shape=(1, 16, 16), mean=(0.5,), std=(0.5,), steps_per_epoch=50)
        task = DFADTask(data.facts, teacher=net, student=small, teacher_ckpt=None)
        Trainer(max_epochs=50).fit(task, datamodule=data)

    Args:
        facts: See ImageFacts; they must be the teacher's.
        teacher: See DistillationTask.
        student: See DistillationTask.
        teacher_ckpt: See DistillationTask.
        generator_losses: Further losses of the generator beside the disagreement. None, the paper's method, has none.
        adversarial_weight: Of the disagreement in the generator's loss; 1 in the paper.
        adversarial_where_agreed: Count the disagreement only of images on which both networks name the same class.
        bank: Let the student learn from a store of inventions, to which each round adds one batch. None, the paper's
            method, makes `student_steps` batches a round instead, each of which the teacher answers.
        views: Show the student another view of an image each time, which the teacher answers anew. None, the paper's,
            shows it as it is.
        meta_generator: Make each batch in `generator_steps` steps from a common start, before the student's turn, see
            there; it needs a `bank`, and an average of the generator is then only compared on. None, the paper's, has
            one generator that moves on.
        l1_weight: Of the absolute difference of logits in the student's loss; 1 in the paper.
        soft_loss: Added to the student's loss, on the same images. None in the paper.
        feature_loss: Added to the student's loss, on the same images, which the teacher then sees once more (once, with
            `views` too). None in the paper.
        student_steps: Student steps in a round (k of the paper: 5).
        generator_steps: Generator steps in a round.
        generator_shift: Mirror half of the generator's batches, and shift them by up to so many pixels each way, before
            the networks judge them, as Fang et al. 2022, "Up to 100x faster data-free knowledge distillation",
            https://arxiv.org/abs/2112.06253, do. 0, the paper's, judges them as they are.
        warm_up_epochs: Epochs in which the generator alone is trained, without the disagreement, and the student waits.
        optimizer_student: Optimizer of the student. Default: the authors' for CIFAR.
        optimizer_generator: Optimizer of the generator. Default: the authors' for CIFAR.
        scheduler_student: Learning rate schedule of the student, stepped once an epoch after the warm-up.
        scheduler_generator: Learning rate schedule of the generator, stepped once an epoch.
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
            "train/time_student": "student",
            "train/time_inventing": "images and answers",
            "train/time_generator": "generator",
        },
    }

    def __init__(
        self,
        facts: ImageFacts,
        teacher: NetworkCallable,
        student: NetworkCallable,
        teacher_ckpt: str | None,
        generator_losses: list[GeneratorLoss] | None = None,
        adversarial_weight: float = 1.0,
        adversarial_where_agreed: bool = False,
        bank: ImageBank | None = None,
        views: Views | None = None,
        meta_generator: MetaGenerator | None = None,
        l1_weight: float = 1.0,
        soft_loss: SoftTargetLoss | None = None,
        feature_loss: FeatureLoss | None = None,
        student_steps: int = 5,
        generator_steps: int = 1,
        generator_shift: int = 0,
        warm_up_epochs: int = 0,
        optimizer_student: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=5e-4
        ),
        optimizer_generator: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        scheduler_student: LRSchedulerCallable | None = None,
        scheduler_generator: LRSchedulerCallable | None = None,
        gradient_clip_norm: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(facts, teacher, student, teacher_ckpt, **options)
        self.save_hyperparameters()
        for option, value in (("student_steps", student_steps), ("generator_steps", generator_steps)):
            if value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        for option, value in (("warm_up_epochs", warm_up_epochs), ("generator_shift", generator_shift)):
            if value < 0:
                raise ValueError(f"{option} must not be negative, got {value}")
        shifts = {
            "generator_shift": generator_shift,
            "bank.shifted": 0 if bank is None else bank.shifted,
            "views.shifted": 0 if views is None else views.shifted,
        }
        for option, by in shifts.items():
            if by >= min(self.image_shape[1:]):
                raise ValueError(
                    f"{option} must be less than the {min(self.image_shape[1:])} pixels of a side, got {by}"
                )
        if warm_up_epochs and not generator_losses:
            raise ValueError("warm_up_epochs: without generator_losses the generator learns nothing in them")
        if not l1_weight and soft_loss is None:
            raise ValueError("l1_weight: with 0 and no soft_loss the student learns nothing")
        if l1_weight < 0:
            raise ValueError(f"l1_weight must not be negative, got {l1_weight}")
        if gradient_clip_norm is not None and gradient_clip_norm <= 0:
            raise ValueError(f"gradient_clip_norm must be positive, got {gradient_clip_norm}")
        if bank is not None and bank.size < self.batch_size:
            raise ValueError(f"bank.size must be at least batch_size, {self.batch_size}, got {bank.size}")
        self.automatic_optimization = False
        self.loss = AdversarialL1Loss()
        self.objective = GeneratorObjective(
            generator_losses or (), adversarial_weight, adversarial_where_agreed, generator_shift
        )
        self.objective.require_layers(self.teacher)
        self.bank = bank
        if meta_generator is not None and bank is None:
            raise ValueError("meta_generator: it needs a bank, for its inventions are made once")
        self.meta_generator = meta_generator
        self.views = views
        self.l1_weight = l1_weight
        self.soft_loss = soft_loss
        self.feature_loss = feature_loss
        if feature_loss is not None:
            for player, network in (("student", self.student), ("teacher", self.teacher.network)):
                try:
                    require_layers(feature_loss.layers, [name for name, _ in network.inner.named_modules() if name])
                except ValueError as error:
                    raise ValueError(f"feature_loss: {player}: {error}") from None
                if self.compile_networks and not are_parts(network, feature_loss.layers):
                    raise ValueError(
                        f"feature_loss: {player}: with compile, layers must be parts that the network goes through one"
                        " after the other, as the blocks of a ResNet; leave compile out"
                    )
        self._counts = BatchCounts(self.student)
        self._observe: dict[str, WithFeatures] = {}
        self.student_steps = student_steps
        self.generator_steps = generator_steps
        self.warm_up_epochs = warm_up_epochs
        self.optimizer_student = optimizer_student
        self.optimizer_generator = optimizer_generator
        self.scheduler_student = scheduler_student
        self.scheduler_generator = scheduler_generator
        self.gradient_clip_norm = gradient_clip_norm

    def configure_optimizers(self) -> Any:
        """Build an optimizer and a schedule for each player."""
        return (
            _optimization(self.student, self.optimizer_student, self.scheduler_student, "lr/student"),
            _optimization(self.generator, self.optimizer_generator, self.scheduler_generator, "lr/generator"),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the bank too."""
        super().on_save_checkpoint(checkpoint)
        if self.bank is not None:
            checkpoint["bank"] = self.bank.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the bank up again."""
        super().on_load_checkpoint(checkpoint)
        if self.bank is not None and "bank" in checkpoint:
            self.bank.load_state_dict(checkpoint["bank"], self.device)

    # The game

    def on_fit_start(self) -> None:
        """Do what every distillation does; refuse a bank beyond memory, and a student without time.

        `sync_batchnorm` has replaced layers by now, so those that show their features are found here.
        """
        super().on_fit_start()
        epochs = self.trainer.max_epochs
        if self.warm_up_epochs and epochs is not None and -1 < epochs <= self.warm_up_epochs:
            raise ValueError(f"warm_up_epochs: {self.warm_up_epochs} of {epochs} epochs leave the student none")
        if self.bank is not None:
            self.bank.require_room(self.image_shape, self.num_classes, self.device)
        if self.feature_loss is not None:
            for player, network in (("student", self.student), ("teacher", self.teacher.network)):
                self._observe[player] = WithFeatures(network, self.feature_loss.layers)
                if self.compile_networks:
                    self._observe[player].compile()
            x = torch.zeros((2, *self.image_shape), device=self.device).to(self.dtype)
            with undisturbed(self.student), self.trainer.precision_plugin.forward_context():
                features = self._observe["student"](x)[1]
            self._shapes = {layer: each.shape[1:] for layer, each in features.items()}

    def on_train_epoch_start(self) -> None:
        """Do what every task does, and start the clock."""
        super().on_train_epoch_start()
        self._stopwatch = Stopwatch(self.device)

    def training_step(self, batch: int, batch_idx: int) -> None:
        """Play one round: the student's turn, then the generator's; that comes first if it makes the batch."""
        with local_gradients(self), self._counts.together():
            self._play()

    def _play(self) -> None:
        optimizer_student, optimizer_generator = self.optimizers()  # type: ignore[attr-defined]
        made = None
        if self.meta_generator is not None:
            with self._stopwatch.part("generator"):
                made = self._meta_turn(optimizer_generator, self.meta_generator)
        if not self.warms_up:
            with self._stopwatch.part("inventing"):
                lessons = self._lessons(made)
            with self._stopwatch.part("student"):
                self._student_turn(optimizer_student, lessons)
        if self.meta_generator is None:
            with self._stopwatch.part("generator"):
                self._generator_turn(optimizer_generator)

    @property
    def warms_up(self) -> bool:
        """Whether the student waits for the generator."""
        return self.current_epoch < self.warm_up_epochs

    @torch.no_grad()
    def _lessons(self, made: Tensor | None) -> list[Lesson]:
        """Give the batches of a student's turn; into the bank goes what was made for it, or a new batch.

        The generator does not change in this turn, so without a bank all its batches are made first, and the teacher,
        which has no batch statistics in eval mode, sees them in one pass.
        """
        if self.bank is not None:
            x = self.invent(self.inventor)[0] if made is None else made
            self.count(self.bank.add(x, self.teacher, self._noise))
            drawn = self.bank.draw(self.student_steps * self.batch_size, self._noise)
            parts = (each.split(self.batch_size) for each in drawn)
            lessons = [Lesson(x.to(self.dtype), target, places) for x, target, places in zip(*parts, strict=True)]
        else:
            batches = [self.invent(self.inventor)[0] for _ in range(self.student_steps)]
            logits_t = self.teacher(torch.cat(batches))
            self.count(logits_t)
            lessons = [Lesson(*each) for each in zip(batches, logits_t.split(self.batch_size), strict=True)]
        if self.views is not None:
            lessons = [each._replace(x=self.views(each.x, self._noise)) for each in lessons]
        if self.views is None and self.feature_loss is None:
            return lessons
        return [
            each._replace(target=target, hint=hint)
            for each, (target, hint) in zip(lessons, self._ask([each.x for each in lessons]), strict=True)
        ]

    def _ask(self, batches: list[Tensor]) -> list[tuple[Tensor, Hint | None]]:
        """Give the teacher's logits of batches, and its features if a loss asks for them.

        A GPU takes all batches in one pass, of fewer kernels; a CPU one by one, since its caches do not hold more.
        """
        if self.device.type == "cpu" and len(batches) > 1:
            return [found for x in batches for found in self._ask([x])]
        x = torch.cat(batches)
        hints: Sequence[Hint | None] = [None] * len(batches)
        if self.feature_loss is None:
            logits = self.teacher(x)
        else:
            logits, features = self._observe["teacher"](x)
            hints = self.feature_loss.hints(features, self._shapes, len(batches))
        return list(zip(logits.float().chunk(len(batches)), hints, strict=True))

    def _student_turn(self, optimizer: LightningOptimizer, lessons: list[Lesson]) -> None:
        """Bring the student nearer to the teacher, a step on each batch."""
        answers = []
        for lesson in lessons:
            target = lesson.target
            logits, feature_loss = self._answer(lesson)
            loss = self.loss(logits, target)
            if self.l1_weight != 1:
                loss = self.l1_weight * loss
            if feature_loss is not None:
                loss = loss + feature_loss
            if self.soft_loss is not None:
                soft = self.soft_loss(logits, target, target.argmax(dim=1))
                self.track("loss_soft", soft, len(target))
                loss = loss + soft
            self._step(self.student, optimizer, loss)
            self.follow()
            self.track("loss_student", loss, len(target))
            answers.append(logits.detach())
        if self.bank is not None:
            places = torch.cat([each.places for each in lessons if each.places is not None])
            targets = torch.cat([each.target for each in lessons])
            self.bank.rate(places, (torch.cat(answers).float() - targets).abs().mean(dim=1))

    def _answer(self, lesson: Lesson) -> tuple[Tensor, Tensor | None]:
        """Give the student's logits, and how far its features are from the teacher's, by the weight of that."""
        self._counts.add()
        if self.feature_loss is None:
            return self.student(lesson.x), None
        assert lesson.hint is not None
        logits, features = self._observe["student"](lesson.x)
        value = self.feature_loss.distance(features, lesson.hint)
        self.track("loss_features", value, len(logits))
        return logits, self.feature_loss.weight * value

    def _generator_turn(self, optimizer: LightningOptimizer) -> None:
        """Move the generator towards images on which the student and the teacher differ."""
        with self.toggled_optimizer(optimizer):  # spares the gradients of the student's weights
            for _ in range(self.generator_steps):
                self._step(self.generator, optimizer, self._judge(*self.invent(self.generator)))
                self.average_generator()

    def _meta_turn(self, optimizer: LightningOptimizer, meta_generator: MetaGenerator) -> Tensor:
        """Make a batch in a few steps from the generator, and move the generator towards where they lead."""
        with self.toggled_optimizer(optimizer):
            z, y = self._draw_noise(self.batch_size, self._noise.tensors)
            x = meta_generator.invent(
                self.generator,
                z.to(self.dtype),
                self.generator_steps,
                lambda x: self._judge(x, y),
                self.manual_backward,
                self._gradient_scale(),
            )
            average_gradients(self, self.generator)
            optimizer.step()
        self.average_generator()
        return x

    def _gradient_scale(self) -> Tensor | None:
        """Give the factor by which float16 keeps gradients from vanishing, without waiting for the device."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return None if scaler is None else scaler.scale(torch.ones((), device=self.device))

    def _judge(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Give the generator's loss of a batch."""
        student = None if self.warms_up else self.student
        if student is not None and self.objective.adversarial_weight > 0:
            self._counts.add()
        loss, parts, logits_t = self.objective(x, y, self.teacher, student, self._noise)
        for name, value in parts:
            self.track(f"loss_{name}", value, len(x))
        self.track("loss_generator", loss, len(x))
        if self.warms_up:
            self.count(logits_t)
        return loss

    def _step(self, player: nn.Module, optimizer: LightningOptimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        average_gradients(self, player)
        optimizer.step()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip here, where mixed precision has unscaled the gradients."""
        if self.gradient_clip_norm is not None:
            self.clip_gradients(optimizer, self.gradient_clip_norm, "norm")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do what every data-free task does, and read the clock at the last round of the epoch."""
        if self.trainer.is_last_batch:
            for name, share in self._stopwatch.shares().items():
                self.log(f"train/time_{name}", share, on_step=False, on_epoch=True, batch_size=1)
        super().on_train_batch_end(outputs, batch, batch_idx)

    def restart_generator(self) -> None:
        """Give the generator new weights, and forget the moments of the former's gradients."""
        super().restart_generator()
        self.trainer.optimizers[1].state.clear()

    def on_train_epoch_end(self) -> None:
        """Step the schedules, the student's once it plays; one that watches a validation metric after a validation."""
        every = self.trainer.check_val_every_n_epoch or 1
        validated = (self.current_epoch + 1) % every == 0
        for scheduler in _as_list(self.lr_schedulers()):
            if self.warms_up and scheduler.optimizer is self.trainer.optimizers[0]:
                continue
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()
            elif validated:
                scheduler.step(self.trainer.callback_metrics[scheduler.monitor])


def _optimization(
    network: nn.Module, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None, name: str
) -> dict[str, Any]:
    built = optimizer(network.parameters())
    if scheduler is None:
        return {"optimizer": built}
    schedule = scheduler(built)
    require_periods(schedule)
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "name": name}}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
