"""Data-free adversarial distillation: a student learns from a frozen teacher on images that a generator invents.

Fang et al. 2019, "Data-Free Adversarial Distillation", https://arxiv.org/abs/1912.11006.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import CatMetric

from lightning_tasks.distillation import DistillationTask
from lightning_tasks.image_bank import ImageBank
from lightning_tasks.losses import AdversarialL1Loss, GeneratorLoss, Invented, SoftTargetLoss
from lightning_tasks.networks import GeneratorCallable, ImageGenerator, NetworkCallable, undisturbed
from runs.facts import NO_IMAGES, ImageFacts

TEST_SUBSETS = {"10pct": 0.1, "20pct": 0.2}


class DFADTask(DistillationTask):
    """The game of a student and a generator before a frozen teacher.

    Each training step plays one round: the student takes `student_steps` steps to answer as the teacher does on fresh
    invented images, then the generator takes `generator_steps` steps towards images on which they disagree. No real
    image is read in training; the training loader yields step numbers.

    Logs `train/loss_student` (mean absolute difference of logits), `train/loss_generator` (its negative, with the
    further losses of the generator by their weights), `train/loss_<name>` of each of these, `train/class_entropy`
    (entropy of the classes that the teacher sees in the invented images, 1 if all are equally frequent, 0 if there is
    but one), and after a test `test/acc_10pct` and `test/acc_20pct` (fixed random subsets of the test set), on top of
    DistillationTask's metrics. With NoImages it validates and tests on images that the generator makes of held-out
    noise: then `val/agreement` chooses, and there are no accuracies.

    Args:
        facts: See ImageFacts; they must be the teacher's.
        teacher: See DistillationTask.
        student: See DistillationTask.
        teacher_ckpt: See DistillationTask.
        generator: Network from noise to images. Default: the authors'.
        generator_losses: Further losses of the generator beside the disagreement. None, the paper's method, has none.
        adversarial_weight: Of the disagreement in the generator's loss; 1 in the paper.
        adversarial_where_agreed: Count the disagreement only of images on which both networks name the same class.
        bank: Let the student learn from a store of inventions, to which each round adds one batch. None, the paper's
            method, makes `student_steps` batches a round instead, each of which the teacher answers.
        soft_loss: Added to the student's loss, on the same images. None in the paper.
        batch_size: Invented images in each step, on each device.
        student_steps: Student steps in a round (k of the paper: 5).
        generator_steps: Generator steps in a round.
        optimizer_student: Optimizer of the student. Default: the authors' for CIFAR.
        optimizer_generator: Optimizer of the generator. Default: the authors' for CIFAR.
        scheduler_student: Learning rate schedule of the student, stepped once an epoch.
        scheduler_generator: Learning rate schedule of the generator, stepped once an epoch.
        gradient_clip_norm: Clip the gradient norm of each network to this, if given.
        collapse_entropy: Warn when the class entropy of an epoch falls below this; 0 never warns.
        channels_last: See BaseTask.
        **options: See DistillationTask.

    Raises:
        ValueError: If an option is out of range, and see DistillationTask.
    """

    units: Mapping[str, str] = {"loss_student": "logits", "loss_generator": "logits"}

    def __init__(
        self,
        facts: ImageFacts,
        teacher: NetworkCallable,
        student: NetworkCallable,
        teacher_ckpt: str | None,
        generator: GeneratorCallable = ImageGenerator,
        generator_losses: list[GeneratorLoss] | None = None,
        adversarial_weight: float = 1.0,
        adversarial_where_agreed: bool = False,
        bank: ImageBank | None = None,
        soft_loss: SoftTargetLoss | None = None,
        batch_size: int = 256,
        student_steps: int = 5,
        generator_steps: int = 1,
        optimizer_student: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=5e-4
        ),
        optimizer_generator: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        scheduler_student: LRSchedulerCallable | None = None,
        scheduler_generator: LRSchedulerCallable | None = None,
        gradient_clip_norm: float | None = None,
        collapse_entropy: float = 0.5,
        channels_last: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(facts, teacher, student, teacher_ckpt, channels_last=channels_last, **options)
        self.save_hyperparameters()
        self.keep_plain_hyperparameters()
        for option, value, least in (
            ("batch_size", batch_size, 2),  # BatchNorm needs two
            ("student_steps", student_steps, 1),
            ("generator_steps", generator_steps, 1),
        ):
            if value < least:
                raise ValueError(f"{option} must be at least {least}, got {value}")
        if adversarial_weight < 0:
            raise ValueError(f"adversarial_weight must not be negative, got {adversarial_weight}")
        if gradient_clip_norm is not None and gradient_clip_norm <= 0:
            raise ValueError(f"gradient_clip_norm must be positive, got {gradient_clip_norm}")
        self.automatic_optimization = False
        self.generator = generator(self.image_shape)
        self.loss = AdversarialL1Loss()
        self.generator_losses = nn.ModuleList(generator_losses or ())
        self.adversarial_weight = adversarial_weight
        self.adversarial_where_agreed = adversarial_where_agreed
        self.bank = bank
        self.soft_loss = soft_loss
        self._observes = any(each.needs_statistics for each in generator_losses or ())
        if self._observes and not self.teacher.batchnorms:
            raise ValueError("generator_losses: the teacher has no BatchNorm layer; leave BatchNormStatisticsLoss out")
        self.batch_size = batch_size
        self.student_steps = student_steps
        self.generator_steps = generator_steps
        self.optimizer_student = optimizer_student
        self.optimizer_generator = optimizer_generator
        self.scheduler_student = scheduler_student
        self.scheduler_generator = scheduler_generator
        self.gradient_clip_norm = gradient_clip_norm
        self.collapse_entropy = collapse_entropy
        self._noise = torch.Generator()
        self.fake_class_counts = torch.zeros(self.num_classes, dtype=torch.long)
        self.sees_no_images = facts["dataset"] == NO_IMAGES
        if self.sees_no_images:
            self.monitor, self.headline = "val/agreement", ("test/agreement",)
            self.run_facts["chosen_by"] = "agreement with the teacher on held-out inventions: no real image was read"
        self.test_correct = CatMetric(sync_on_compute=False)  # every device tests all samples

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Student, generator and teacher."""
        return {"student": self.student, "generator": self.generator, "teacher": self.teacher.network}

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

    def on_train_epoch_start(self) -> None:
        """Start the epoch's noise: an own generator, since the global one is equal on all ranks."""
        super().on_train_epoch_start()
        self._noise = torch.Generator(self.device).manual_seed(self.epoch_seed(self.current_epoch))
        # No buffer: DDP would overwrite it with rank zero's at each forward pass.
        self.fake_class_counts = torch.zeros(self.num_classes, dtype=torch.long, device=self.device)

    def training_step(self, batch: int, batch_idx: int) -> None:
        """Play one round: the student's turn, then the generator's."""
        optimizer_student, optimizer_generator = self.optimizers()  # type: ignore[attr-defined]
        self._student_turn(optimizer_student)
        self._generator_turn(optimizer_generator)

    def _student_turn(self, optimizer: LightningOptimizer) -> None:
        """Bring the student nearer to the teacher on `student_steps` batches, fresh or from the bank.

        The generator does not change in this turn, so without a bank all its batches are made first, and the teacher,
        which has no batch statistics in eval mode, sees them in one pass.
        """
        for x, target in self._lessons():
            logits = self.student(x)
            loss = self.loss(logits, target)
            if self.soft_loss is not None:
                soft = self.soft_loss(logits, target, target.argmax(dim=1))
                self.track("loss_soft", soft, len(x))
                loss = loss + soft
            self._step(optimizer, loss)
            self.track("loss_student", loss, len(x))

    @torch.no_grad()
    def _lessons(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the batches of a student's turn, images (B, C, H, W) and the teacher's logits (B, num_classes)."""
        if self.bank is not None:
            self._count(self.bank.add(self._invent(), self.teacher, self._noise))
            for _ in range(self.student_steps):
                x, target = self.bank.draw(self.batch_size, self._noise)
                yield x.to(self.dtype), target
            return
        batches = [self._invent() for _ in range(self.student_steps)]
        logits_t = self.teacher(torch.cat(batches))
        self._count(logits_t)
        yield from zip(batches, logits_t.split(self.batch_size), strict=True)

    def _count(self, logits_t: Tensor) -> None:
        seen = logits_t.argmax(dim=1)
        self.fake_class_counts.scatter_add_(0, seen, torch.ones_like(seen))  # bincount would wait for the GPU

    def _generator_turn(self, optimizer: LightningOptimizer) -> None:
        """Move the generator towards images on which the student and the teacher differ."""
        with self.toggled_optimizer(optimizer):  # spares the gradients of the student's weights
            for _ in range(self.generator_steps):
                x = self._invent()
                logits_t, statistics = self.teacher.observe(x) if self._observes else (self.teacher(x), [])
                invented = Invented(x, self.student(x), logits_t, statistics)
                loss = -self.adversarial_weight * self._disagreement(invented)
                for further in self.generator_losses:
                    value = further(invented)
                    self.track(f"loss_{further.name}", value, len(x))
                    loss = loss + further.weight * value
                self._step(optimizer, loss)
                self.track("loss_generator", loss, len(x))

    def _disagreement(self, invented: Invented) -> Tensor:
        """Compute the adversarial loss of all images, or of those whose class both networks agree on; 0 of none."""
        logits_s, logits_t = invented.logits_s, invented.logits_t
        if self.adversarial_where_agreed:
            agreed = logits_s.argmax(dim=1) == logits_t.argmax(dim=1)
            differences = (logits_s.float() - logits_t.float()).abs().mean(dim=1)
            return (differences * agreed).mean()
        return self.loss(logits_s, logits_t)

    def _invent(self) -> Tensor:
        """Make a batch of images (batch_size, C, H, W) in the space of normalised images."""
        size = self.batch_size, self.generator.latent_dim
        z = torch.randn(size, generator=self._noise, device=self.device)
        return self.generator(z.to(self.dtype))

    def _step(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip here, where mixed precision has unscaled the gradients."""
        if self.gradient_clip_norm is not None:
            self.clip_gradients(optimizer, self.gradient_clip_norm, "norm")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do what every task does, and look for a collapse at the last round of the epoch."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if not self.trainer.is_last_batch:
            return
        self.fake_class_counts = self.trainer.strategy.reduce(self.fake_class_counts, reduce_op="sum")
        entropy = class_entropy(self.fake_class_counts)
        self.log("train/class_entropy", entropy, on_step=False, on_epoch=True, batch_size=1)
        self.run_facts["min_class_entropy"] = min(round(entropy, 4), self.run_facts.get("min_class_entropy", 1.0))
        self.run_facts.setdefault("collapsed_epochs", 0)
        if entropy < self.collapse_entropy:
            self.run_facts["collapsed_epochs"] += 1
            rank_zero_warn(
                f"epoch {self.current_epoch}: the generator may have collapsed: the classes that the teacher sees in"
                f" its images have entropy {entropy:.2f} of 1 (warning below {self.collapse_entropy:g})"
            )

    def on_train_epoch_end(self) -> None:
        """Step the schedules; one that watches a validation metric only after a validation."""
        every = self.trainer.check_val_every_n_epoch or 1
        validated = (self.current_epoch + 1) % every == 0
        for scheduler in _as_list(self.lr_schedulers()):
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()
            elif validated:
                scheduler.step(self.trainer.callback_metrics[scheduler.monitor])

    def sample(self, num_images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Invent images for a picture: the same noise at each call.

        Args:
            num_images: How many.
            seed: Seed of the noise.

        Returns:
            Images (num_images, C, H, W) in [0, 1], from the generator in eval mode, and the classes (num_images,) that
            the teacher sees in them.
        """
        noise = torch.randn(num_images, self.generator.latent_dim, generator=torch.Generator().manual_seed(seed))
        with undisturbed(self):
            x = self.generator(noise.to(self.device).to(self.dtype))
            seen = self.teacher(x).argmax(dim=1)
        mean, std = (x.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (x * std + mean).clamp(0, 1), seen

    # Evaluation

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        super().on_test_epoch_start()
        self.test_correct.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor] | int, batch_idx: int) -> None:
        """Evaluate a batch, or count the agreement on an invented one."""
        if isinstance(batch, int):
            self._agree("val", batch)
        else:
            super().validation_step(batch, batch_idx)

    def test_step(self, batch: tuple[Tensor, Tensor] | int, batch_idx: int) -> Tensor:
        """Evaluate a batch, and keep which of the student's answers were right; returns its logits."""
        if isinstance(batch, int):
            return self._agree("test", batch)
        logits = super().test_step(batch, batch_idx)
        self.test_correct.update((logits.argmax(dim=1) == batch[1]).float())
        return logits

    def _agree(self, stage: str, number: int) -> Tensor:
        """Compare student and teacher on images from the same noise each time; returns the student's logits."""
        seed = np.random.SeedSequence([("val", "test").index(stage), number]).generate_state(1)[0]
        z = torch.randn(self.batch_size, self.generator.latent_dim, generator=torch.Generator().manual_seed(int(seed)))
        x = self.generator(z.to(self.device).to(self.dtype))
        logits = self.student(x)
        self.agreement.update(logits, self.teacher(x).argmax(dim=1))
        return logits

    def _log(self, stage: str) -> None:
        if self.sees_no_images:
            self.log_agreement(stage)
        else:
            super()._log(stage)

    def on_test_epoch_end(self) -> None:
        """Log the accuracies on the whole test set and on its subsets."""
        super().on_test_epoch_end()
        if self.sees_no_images:
            return
        correct = self.test_correct.compute()
        order = torch.randperm(len(correct), generator=torch.Generator().manual_seed(0)).to(correct.device)
        for name, share in TEST_SUBSETS.items():
            self.log(f"test/acc_{name}", correct[order[: math.ceil(share * len(correct))]].mean())


def class_entropy(counts: Tensor) -> float:
    """Compute the entropy of a class histogram as a share of the greatest possible, log(number of classes).

    Args:
        counts: Number of images of each class. Shape (num_classes,).

    Returns:
        1 if all classes are equally frequent, 0 if there is only one.
    """
    shares = counts.cpu().double() / counts.sum().item()
    return float(torch.special.entr(shares).sum() / math.log(len(counts)))


def _optimization(
    network: nn.Module, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None, name: str
) -> dict[str, Any]:
    built = optimizer(network.parameters())
    if scheduler is None:
        return {"optimizer": built}
    return {"optimizer": built, "lr_scheduler": {"scheduler": scheduler(built), "name": name}}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
