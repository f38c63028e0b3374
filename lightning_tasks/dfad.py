"""Data-free adversarial distillation: a student learns from a frozen teacher on images that a generator invents.

Fang et al. 2019, "Data-Free Adversarial Distillation", https://arxiv.org/abs/1912.11006.
"""

import math
from typing import Any, Self

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, fx, nn
from torch.optim import Optimizer
from torchmetrics import CatMetric
from torchmetrics.classification import MulticlassAccuracy

from lightning_tasks.base import BaseTask
from lightning_tasks.checkpoints import file_hash, load_network
from lightning_tasks.losses import AdversarialL1Loss, ClassBalanceLoss
from lightning_tasks.networks import (
    ImageGenerator,
    ImageShape,
    NetworkCallable,
    count_parameters,
    fold_batchnorm,
)

TEST_SUBSETS = {"10pct": 0.1, "20pct": 0.2}
SHARE_TOLERANCE = 0.01


class DFADTask(BaseTask):
    """The game of a student and a generator before a frozen teacher.

    Each training step plays one round: the student takes `student_steps` steps to answer as the teacher does on fresh
    invented images, then the generator takes `generator_steps` steps towards images on which they disagree. No real
    image is read in training; the training loader yields step numbers.

    Logs `train/loss_student` (mean absolute difference of logits), `train/loss_generator` (its negative, with the class
    balance loss where that has a weight), `train/class_entropy` (entropy of the classes that the teacher sees in the
    invented images, 1 if all are equally frequent, 0 if there is but one), `val/acc`, `val/agreement` (share of images
    on which student and teacher give the same class), and after a test `test/acc`, `test/acc_10pct` and
    `test/acc_20pct` (fixed random subsets of the test set), `test/acc_teacher` and `test/agreement`.

    Args:
        num_classes: Number of classes of the data.
        image_shape: Channels, height and width of an image: a square of 16, 32 or 64 pixels.
        mean: Mean of each channel; it must be the teacher's.
        std: Standard deviation of each channel; it must be the teacher's.
        teacher: The network that `teacher_ckpt` holds.
        student: The network that learns.
        teacher_ckpt: Checkpoint of a ClassificationTask, or the log folder of an experiment, of which the best
            checkpoint of the newest finished run is taken.
        student_share: Parameters of the student as a share of the teacher's that must hold within 0.01.
        latent_dim: Length of the noise vector; 256 in the authors' CIFAR runs.
        generator_width: Channels of the generator's last hidden layer.
        batch_size: Invented images in each step, on each device.
        student_steps: Student steps in a round (k of the paper: 5).
        generator_steps: Generator steps in a round.
        optimizer_student: Optimizer of the student. Default: the authors' for CIFAR.
        optimizer_generator: Optimizer of the generator. Default: the authors' for CIFAR.
        scheduler_student: Learning rate schedule of the student, stepped once an epoch.
        scheduler_generator: Learning rate schedule of the generator, stepped once an epoch.
        balance_weight: Weight of the class balance loss in the generator's loss, against its forgetting classes. 0, the
            paper's method, leaves it out.
        gradient_clip_norm: Clip the gradient norm of each network to this, if given.
        collapse_entropy: Warn when the class entropy of an epoch falls below this; 0 never warns.
        compile: See BaseTask.
        channels_last: See BaseTask.

    Raises:
        ValueError: If an option is out of range, the student's share is not the one asked for, or the teacher's
            checkpoint does not fit network, classes or normalisation.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        teacher: NetworkCallable,
        student: NetworkCallable,
        teacher_ckpt: str,
        student_share: float | None = None,
        latent_dim: int = 256,
        generator_width: int = 64,
        batch_size: int = 256,
        student_steps: int = 5,
        generator_steps: int = 1,
        optimizer_student: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=5e-4
        ),
        optimizer_generator: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        scheduler_student: LRSchedulerCallable | None = None,
        scheduler_generator: LRSchedulerCallable | None = None,
        balance_weight: float = 0.0,
        gradient_clip_norm: float | None = None,
        collapse_entropy: float = 0.5,
        compile: bool = False,
        channels_last: bool = True,
    ) -> None:
        super().__init__(num_classes, image_shape, mean, std, compile, channels_last)
        self.save_hyperparameters()
        self.keep_plain_hyperparameters()
        for option, value, least in (
            ("batch_size", batch_size, 2),  # BatchNorm needs two
            ("student_steps", student_steps, 1),
            ("generator_steps", generator_steps, 1),
        ):
            if value < least:
                raise ValueError(f"{option} must be at least {least}, got {value}")
        if gradient_clip_norm is not None and gradient_clip_norm <= 0:
            raise ValueError(f"gradient_clip_norm must be positive, got {gradient_clip_norm}")
        self.automatic_optimization = False
        self.strict_loading = False  # the teacher is left out of checkpoints
        self.teacher_ckpt = teacher_ckpt
        self.latent_dim = latent_dim
        self.batch_size = batch_size
        self.student_steps = student_steps
        self.generator_steps = generator_steps
        self.optimizer_student = optimizer_student
        self.optimizer_generator = optimizer_generator
        self.scheduler_student = scheduler_student
        self.scheduler_generator = scheduler_generator
        self.balance_weight = balance_weight
        self.gradient_clip_norm = gradient_clip_norm
        self.collapse_entropy = collapse_entropy
        self.loss = AdversarialL1Loss()
        self.balance = ClassBalanceLoss()

        self.student = student(num_classes, image_shape)
        self.generator = ImageGenerator(latent_dim, image_shape, generator_width)
        self.teacher: nn.Module = teacher(num_classes, image_shape)
        self._check_share(student_share)
        self._teacher_loaded = False
        self._noise = torch.Generator()

        self.fake_class_counts = torch.zeros(num_classes, dtype=torch.long)
        self.val_agreement = MulticlassAccuracy(num_classes, average="micro")
        self.test_agreement = MulticlassAccuracy(num_classes, average="micro")
        self.test_teacher = MulticlassAccuracy(num_classes, average="micro")
        self.test_correct = CatMetric(sync_on_compute=False)  # every device tests all samples

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Student, generator and teacher."""
        return {"student": self.student, "generator": self.generator, "teacher": self.teacher}

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the student's logits (B, num_classes)."""
        return self.student(x)

    def configure_optimizers(self) -> Any:
        """Build an optimizer and a schedule for each player."""
        return (
            _optimization(self.student, self.optimizer_student, self.scheduler_student, "lr/student"),
            _optimization(self.generator, self.optimizer_generator, self.scheduler_generator, "lr/generator"),
        )

    # The teacher

    def prepare_data(self) -> None:
        """Refuse a teacher that does not fit before anything of the run is written."""
        if self.trainer.state.fn != "predict":
            self._load_teacher()

    def setup(self, stage: str) -> None:
        """Load the teacher and fold its BatchNorm, then what every task does."""
        if stage != "predict":
            self._load_teacher()
            if not isinstance(self.teacher, fx.GraphModule):
                # The same function with fewer passes over the activations; gradients still reach the images.
                self.teacher = fold_batchnorm(self.teacher.eval())
        super().setup(stage)

    def train(self, mode: bool = True) -> Self:
        """Switch student and generator; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the teacher out: `teacher_ckpt` is its home."""
        super().on_save_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: weights[key] for key in weights if not key.startswith("teacher.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on, or to be compared, with another teacher than the one the student learnt from.

        Raises:
            ValueError: If the loaded teacher is not the checkpoint's.
        """
        theirs = checkpoint.get("run_facts", {})
        ours = self.run_facts.get("teacher_sha256")
        if ours and theirs.get("teacher_sha256", ours) != ours:
            raise ValueError(
                f"teacher_ckpt: the student learnt from {theirs['teacher_ckpt']}, and"
                f" {self.run_facts['teacher_ckpt']} is another teacher; name the former"
            )
        super().on_load_checkpoint(checkpoint)

    def _check_share(self, wanted: float | None) -> None:
        sizes = {name: count_parameters(network) for name, network in self.networks.items()}
        share = sizes["student"] / sizes["teacher"]
        self.run_facts["student_share"] = round(share, 4)
        rank_zero_info(f"student: {sizes['student']:,} parameters, {share:.1%} of the teacher's {sizes['teacher']:,}")
        if wanted is not None and abs(share - wanted) > SHARE_TOLERANCE:
            raise ValueError(
                f"student_share: the student has {sizes['student']:,} parameters, {share:.1%} of the teacher's"
                f" {sizes['teacher']:,}; asked for {wanted:.0%} +- {SHARE_TOLERANCE:.0%}"
            )

    def _load_teacher(self) -> None:
        if self._teacher_loaded:
            return
        ours = {name: getattr(self, name) for name in ("num_classes", "image_shape", "mean", "std")}
        path = load_network(self.teacher, self.teacher_ckpt, "teacher_ckpt", ours)
        self.run_facts |= {"teacher_ckpt": str(path), "teacher_sha256": file_hash(path)}
        self.teacher.requires_grad_(False)
        self._teacher_loaded = True

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
        """Bring the student nearer to the teacher on `student_steps` fresh batches.

        The generator does not change in this turn, so all its batches are made first, and the teacher, which has no
        batch statistics in eval mode, sees them in one pass.
        """
        with torch.no_grad():
            batches = [self._invent() for _ in range(self.student_steps)]
            logits_t = self.teacher(torch.cat(batches))
        seen = logits_t.argmax(dim=1)
        self.fake_class_counts.scatter_add_(0, seen, torch.ones_like(seen))  # bincount would wait for the GPU
        for x, target in zip(batches, logits_t.split(self.batch_size), strict=True):
            loss = self.loss(self.student(x), target)
            self._step(optimizer, loss)
            self.track("loss_student", loss)

    def _generator_turn(self, optimizer: LightningOptimizer) -> None:
        """Move the generator towards images on which the student and the teacher differ."""
        with self.toggled_optimizer(optimizer):  # spares the gradients of the student's weights
            for _ in range(self.generator_steps):
                x = self._invent()
                logits_t = self.teacher(x)
                loss = -self.loss(self.student(x), logits_t)
                if self.balance_weight:
                    loss = loss + self.balance_weight * self.balance(logits_t)
                self._step(optimizer, loss)
                self.track("loss_generator", loss)

    def _invent(self) -> Tensor:
        """Make a batch of images (batch_size, C, H, W) in the space of normalised images."""
        z = torch.randn(self.batch_size, self.latent_dim, generator=self._noise, device=self.device)
        return self.generator(z)

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

    @torch.no_grad()
    def sample(self, num_images: int, seed: int = 0) -> Tensor:
        """Invent images for a picture: the same noise at each call.

        Args:
            num_images: How many.
            seed: Seed of the noise.

        Returns:
            Images (num_images, C, H, W) in [0, 1], from the generator in eval mode.
        """
        noise = torch.randn(num_images, self.latent_dim, generator=torch.Generator().manual_seed(seed))
        was_training = self.generator.training
        self.generator.eval()
        x = self.generator(noise.to(self.device))
        self.generator.train(was_training)
        mean, std = (x.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (x * std + mean).clamp(0, 1)

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        super().on_validation_epoch_start()
        self.val_agreement.reset()

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        super().on_test_epoch_start()
        for metric in (self.test_agreement, self.test_teacher, self.test_correct):
            metric.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count right answers, and those that agree with the teacher's."""
        x, y = batch
        logits = self(x)
        self.val_confusion.update(logits, y)
        self.val_agreement.update(logits, self.teacher(x).argmax(dim=1))

    def on_validation_epoch_end(self) -> None:
        """Log `val/acc` and `val/agreement`."""
        super().on_validation_epoch_end()
        self.log("val/agreement", self.val_agreement.compute())

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count right answers of both networks, and keep which the student's were."""
        x, y = batch
        logits, logits_t = self(x), self.teacher(x)
        self.test_confusion.update(logits, y)
        self.test_correct.update((logits.argmax(dim=1) == y).float())
        self.test_agreement.update(logits, logits_t.argmax(dim=1))
        self.test_teacher.update(logits_t, y)

    def on_test_epoch_end(self) -> None:
        """Log the accuracies on the whole test set and on its subsets."""
        super().on_test_epoch_end()
        self.log("test/agreement", self.test_agreement.compute())
        self.log("test/acc_teacher", self.test_teacher.compute())
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
