"""What every distillation without data shares: a generator, monitoring of its images, and the evaluation."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torchmetrics import CatMetric

from lightning_tasks.data_free.devices import copy_buffers
from lightning_tasks.data_free.diversity import class_entropy, measure
from lightning_tasks.data_free.generator import ImageGenerator
from lightning_tasks.data_free.held_out import HELD_OUT_BATCHES, HeldOutEvaluation, would_choose
from lightning_tasks.data_free.memory_check import require_memory
from lightning_tasks.data_free.noise import RandomSource, draw_latent
from lightning_tasks.distillation.base import AGREEMENT, DistillationTask
from lightning_tasks.image_task import accuracy
from lightning_tasks.networks import GeneratorCallable, NetworkCallable, eval_mode
from lightning_tasks.runs.data_spec import NO_IMAGES, ImageDataSpec
from lightning_tasks.weight_averaging import AveragedNetwork

TEST_SUBSETS = {"10pct": 0.1, "20pct": 0.2}


class DataFreeTask(DistillationTask):
    """A student learns from images that a generator synthesises; subclasses say how both are trained.

    Logs after each epoch `train/class_entropy`, of the teacher's classes of the epoch's synthetic images (1: all
    equally frequent, 0: a single one), and on one fixed noise batch

    - `train/agreement`: share that student and teacher give the same class
    - `train/pairwise_distance`, and with a linear last layer `train/same_class_distance`: 0 if images are equal
    - `train/statistics_distance`: see BatchNormStatisticsLoss, if the teacher has BatchNorm layers

    Validation adds `val/agreement_synthetic` and `val/loss_synthetic` on held-out synthetic images; `without_images` in
    the run card is the epoch that they would select, with its `val/acc`. `test/acc_10pct`, `_20pct` are of fixed random
    subsets of the test set. With NoImages all is validated and tested on held-out synthetic images: `val/agreement`
    selects, among equals `val/loss` (KL divergence from the teacher in nats), and there are no accuracies.

    Args:
        data_spec: See ImageDataSpec; it must be the teacher's.
        teacher: See DistillationTask.
        student: See DistillationTask.
        teacher_ckpt: See DistillationTask.
        generator: Network from noise to images.
        conditional: Ask the generator for a class with each image: the first `num_classes` numbers of its noise are
            then a one-hot vector (as in Do et al. 2022, "Momentum adversarial distillation",
            https://arxiv.org/abs/2209.10359), times the root of `num_classes`, so that their mean square is that of
            noise. A OneHotLoss then holds the teacher's answer against the class that was asked for.
        generator_ema_decay: Keep an exponential moving average of the generator's weights with this decay a step, in
            (0, 1), and let it make what the student learns from and is compared on: it changes more slowly (Do et al.
            2022, who take images of both). None lets the generator itself.
        batch_size: Synthetic images in each step, on each device.
        collapse_entropy: An epoch whose class entropy is below this has collapsed; 0: none has.
        on_collapse: What to do after such an epoch besides a warning: nothing ("warn"), end the run as if it were
            finished ("stop"), or restart with new weights of the generator ("restart"). The run card counts them.
        channels_last: See BaseTask.
        **options: See DistillationTask.

    Raises:
        ValueError: If an option is out of range, the generator's images are not of the teacher's shape, and see
            DistillationTask.
    """

    learns_from_data = False
    units: Mapping[str, str] = {
        "pairwise_distance": "distance of images",
        "statistics_distance": "activations",
        "same_class_distance": "1 - cosine",
        "class_entropy": "entropy (1: uniform)",
    }
    watched: Mapping[str, Mapping[str, str]] = {
        **DistillationTask.watched,
        AGREEMENT: {
            "val/agreement": "validation images",
            "val/agreement_synthetic": "synthetic images, held out",
            "train/agreement": "synthetic images, one batch",
        },
    }
    diagnosed: Mapping[str, Mapping[str, str]] = {
        "synthetic images: classes": {"train/class_entropy": ""},
        "synthetic images: distance": {"train/pairwise_distance": ""},
        "synthetic images: within a class": {"train/same_class_distance": ""},
        "synthetic images: BatchNorm": {
            "train/statistics_distance": "one batch",
            "train/loss_statistics": "training",
        },
    }

    def __init__(
        self,
        data_spec: ImageDataSpec,
        teacher: NetworkCallable,
        student: NetworkCallable,
        teacher_ckpt: str | None,
        generator: GeneratorCallable = ImageGenerator,
        conditional: bool = False,
        generator_ema_decay: float | None = None,
        batch_size: int = 256,
        collapse_entropy: float = 0.5,
        on_collapse: Literal["warn", "stop", "restart"] = "warn",
        channels_last: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(data_spec, teacher, student, teacher_ckpt, channels_last=channels_last, **options)
        if batch_size < 2:  # BatchNorm needs two
            raise ValueError(f"batch_size must be at least 2, got {batch_size}")
        if not 0 <= collapse_entropy <= 1:
            raise ValueError(f"collapse_entropy must be in [0, 1], got {collapse_entropy}")
        self.generator = generator(self.image_shape)
        self._make_generator = generator
        self._check_generator()
        self.generator_ema: AveragedNetwork | None = None
        if generator_ema_decay is not None:
            self.generator_ema = AveragedNetwork(self.generator, generator_ema_decay, "generator_ema_decay")
        if conditional and self.generator.latent_dim <= self.num_classes:
            raise ValueError(
                f"conditional: the generator's latent_dim must be above the {self.num_classes} classes"
                f" that are named in its noise, got {self.generator.latent_dim}"
            )
        self.conditional, self.batch_size = conditional, batch_size
        self.collapse_entropy, self.on_collapse = collapse_entropy, on_collapse
        self.collapsed = False
        self._noise = RandomSource.on(torch.device("cpu"))
        self.fake_class_counts = torch.zeros(self.num_classes, dtype=torch.long)
        self.sees_no_images = data_spec["dataset"] == NO_IMAGES
        if self.sees_no_images:
            self.monitor, self.headline = "val/agreement", ("test/agreement",)
            labels = {"val/agreement": "synthetic images, held out", "train/agreement": "synthetic images, one batch"}
            self.watched = {**self.watched, AGREEMENT: labels}
            self.run_facts["chosen_by"] = (
                "agreement with the teacher on held-out synthetic images: no real image was read"
            )
        self.test_correct = CatMetric(sync_on_compute=False)  # every device tests all samples
        self.held_out = HeldOutEvaluation(self.num_classes)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Student, generator and teacher."""
        return {"student": self.student, "generator": self.generator, "teacher": self.teacher.network}

    def _check_generator(self) -> None:
        with eval_mode(self.generator):
            shape = tuple(self.generator(torch.zeros(2, self.generator.latent_dim)).shape[1:])
        if shape != tuple(self.image_shape):
            raise ValueError(f"generator: its images have shape {shape}, and the teacher takes {self.image_shape}")

    def on_fit_start(self) -> None:
        """Do what every distillation does, and say how much memory a step of the generator takes.

        Raises:
            ValueError: If there is not so much.
        """
        super().on_fit_start()
        with (
            eval_mode(self, training=True),
            torch.random.fork_rng([]),
            self.trainer.precision_plugin.forward_context(),
        ):
            needed = require_memory(self._answer_both, self.batch_size, self.device)
        rank_zero_info(
            f"memory: about {needed / 2**20:,.0f} MiB for a step of the generator on {self.batch_size} images of"
            f" {self.image_shape[1]} x {self.image_shape[2]}"
        )

    def _answer_both(self, count: int) -> Tensor:
        """Compute on what the generator's gradient depends: both networks' answers to images that it makes."""
        z, _ = self.draw_noise(count, torch.Generator().manual_seed(0))
        x = self.generator(z.to(self.device).to(self.dtype))
        return self.student(x) - self.teacher(x)

    # Synthetic images

    def on_train_epoch_start(self) -> None:
        """Start the epoch's noise: own generators, since the global one is equal on all ranks."""
        super().on_train_epoch_start()
        self._noise = RandomSource.on(self.device, self.epoch_seed(self.current_epoch))
        # No buffer: DDP would overwrite it with rank zero's at each forward pass.
        self.fake_class_counts = torch.zeros(self.num_classes, dtype=torch.long, device=self.device)

    @property
    def synthesiser(self) -> nn.Module:
        """What makes the images of the student: the generator, or its average."""
        return self.generator if self.generator_ema is None else self.generator_ema

    def average_generator(self) -> None:
        """Let the average follow, if there is one; after each step of the generator."""
        if self.generator_ema is not None:
            self.generator_ema.update_parameters(self.generator)

    def synthesise(self, maker: nn.Module) -> tuple[Tensor, Tensor | None]:
        """Make a batch of images (batch_size, C, H, W) in the space of normalised images.

        Args:
            maker: The generator that learns, or `synthesiser`.

        Returns:
            The images, and the classes (batch_size,) that were asked for, if any were.
        """
        z, y = self.draw_noise(self.batch_size, self._noise.tensors)
        return maker(z.to(self.dtype)), y

    def draw_noise(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Draw latent vectors (count, latent_dim) and, of a conditional generator, classes (count,)."""
        return draw_latent(count, self.generator.latent_dim, self.num_classes if self.conditional else None, random)

    def count_classes(self, logits_t: Tensor) -> None:
        """Count the classes of a batch that the student learns from, by the teacher's logits (B, num_classes)."""
        seen = logits_t.argmax(dim=1)
        self.fake_class_counts.scatter_add_(0, seen, torch.ones_like(seen))  # bincount would wait for the GPU

    def sample(self, num_images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Synthesise images for a plot: the same noise at each call.

        Args:
            num_images: How many.
            seed: Seed of the noise.

        Returns:
            Images (num_images, C, H, W) in [0, 1], from the generator in eval mode, and the teacher's probabilities
            (num_images, num_classes).
        """
        with eval_mode(self):
            z, _ = self.draw_noise(num_images, torch.Generator().manual_seed(seed))
            parts = [self.synthesiser(each.to(self.device).to(self.dtype)) for each in z.split(self.batch_size)]
            probabilities = torch.cat([self.teacher(each).float().softmax(dim=1) for each in parts])
        mean, std = (parts[0].new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (torch.cat(parts) * std + mean).clamp(0, 1), probabilities

    def held_out_images(self, stage: str, number: int) -> Tensor:
        """Make the held-out batch `number` of a stage (batch_size, C, H, W), from the same noise each time."""
        seed = np.random.SeedSequence([("val", "test").index(stage), number]).generate_state(1)[0]
        z, _ = self.draw_noise(self.batch_size, torch.Generator().manual_seed(int(seed)))
        return self.synthesiser(z.to(self.device).to(self.dtype))

    # Monitoring

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do what every task does, and measure the synthetic images at the last batch of the epoch."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if not self.trainer.is_last_batch:
            return
        copy_buffers(self)
        self.fake_class_counts = self.trainer.strategy.reduce(self.fake_class_counts, reduce_op="sum")
        entropy = class_entropy(self.fake_class_counts)
        self.log("train/class_entropy", entropy, on_step=False, on_epoch=True, batch_size=1)
        for name, value in self._measure().items():
            self.log(f"train/{name}", value, on_step=False, on_epoch=True, batch_size=1)
        self.run_facts["min_class_entropy"] = min(round(entropy, 4), self.run_facts.get("min_class_entropy", 1.0))
        self.collapsed = entropy < self.collapse_entropy
        self.run_facts["collapsed_epochs"] = self.run_facts.get("collapsed_epochs", 0) + self.collapsed
        if self.collapsed:
            self._warn_of_collapse(entropy)

    @torch.no_grad()
    def _measure(self) -> dict[str, Tensor]:
        with eval_mode(self), self.trainer.precision_plugin.forward_context():
            x = self.held_out_images("val", 0)
            seen = self.teacher.observe(x)
            return measure(x, self.student(x), seen)

    def _warn_of_collapse(self, entropy: float) -> None:
        then = {"warn": "", "stop": "; the run ends", "restart": "; the generator starts anew"}[self.on_collapse]
        rank_zero_warn(
            f"epoch {self.current_epoch + 1}: the generator may have collapsed: the classes that the teacher sees in"
            f" its images have entropy {entropy:.2f} of 1 (warning below {self.collapse_entropy:g}){then}"
        )
        if self.on_collapse == "stop":
            self.run_facts["ended_by"] = f"collapse of the generator in epoch {self.current_epoch + 1}"
            self.trainer.should_stop = True

    def restart_generator(self) -> None:
        """Give the generator new weights, the same on all ranks."""
        self.run_facts["generator_restarts"] = self.run_facts.get("generator_restarts", 0) + 1
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence([self.seed, self.current_epoch]).generate_state(1)[0]))
            self.generator.load_state_dict(self._make_generator(self.image_shape).state_dict())
        if self.generator_ema is not None:
            self.generator_ema.restart()
            self.average_generator()

    # Evaluation

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        super().on_test_epoch_start()
        self.test_correct.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Evaluate a batch of images, or the held-out synthetic one of that number."""
        if self.sees_no_images:
            self.evaluate_held_out("val", batch)
        else:
            super().validation_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Evaluate a batch likewise, and keep which of the student's answers were right; returns its logits."""
        if self.sees_no_images:
            return self.evaluate_held_out("test", batch)
        logits = super().test_step(batch, batch_idx)
        self.test_correct.update((logits.argmax(dim=1) == batch[1]).float())
        return logits

    def evaluate_held_out(self, stage: str, number: int) -> Tensor:
        """Compare student and teacher on a held-out batch; returns the student's logits (batch_size, num_classes)."""
        x = self.held_out_images(stage, number)
        logits = self.student(x)
        self.held_out.update(logits, self.teacher(x))
        return logits

    def _reset(self, stage: str) -> None:
        super()._reset(stage)
        self.held_out.reset()

    def _log(self, stage: str) -> None:
        if self.sees_no_images:
            for name, value in self.held_out.compute().items():
                self.log(f"{stage}/{name}", value, prog_bar=(stage, name) == ("val", "agreement"), sync_dist=True)
            return
        super()._log(stage)
        if stage == "val":
            self._choose_without_images()

    def _choose_without_images(self) -> None:
        with self.trainer.precision_plugin.forward_context():
            for number in range(HELD_OUT_BATCHES):
                self.evaluate_held_out("val", number)
        found = {f"val/{name}_synthetic": value for name, value in self.held_out.compute().items()}
        self.log_dict(found, sync_dist=True)
        waits = self.trainer.sanity_checking or getattr(self, "pretrains_generator", False)
        if waits or not would_choose(found, self.run_facts.get("without_images")):
            return
        self.run_facts["without_images"] = {
            "epoch": self.current_epoch + 1,
            **{name: value.item() for name, value in found.items()},
            "val/acc": accuracy(self.evaluations["val"].confusion.compute()).item(),  # type: ignore[operator,union-attr]
        }

    def on_test_epoch_end(self) -> None:
        """Log the accuracies on the whole test set and on its subsets."""
        super().on_test_epoch_end()
        if self.sees_no_images:
            return
        correct = self.test_correct.compute()
        order = torch.randperm(len(correct), generator=torch.Generator().manual_seed(0)).to(correct.device)
        for name, share in TEST_SUBSETS.items():
            self.log(f"test/acc_{name}", correct[order[: math.ceil(share * len(correct))]].mean())
