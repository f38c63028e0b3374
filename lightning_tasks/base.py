"""What every task shares: its data's specification, seeds, training losses, the stop of a diverged run, switches."""

import inspect
import math
import os
import warnings
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.utilities.types import LRSchedulerTypeUnion
from torch import Tensor, nn

from lightning_tasks.runs.checkpoints import LastCheckpoint
from lightning_tasks.runs.data_spec import in_order_of, names_in, require_equal
from lightning_tasks.runs.seed import run_seed
from lightning_tasks.runs.weights import read_checkpoint
from lightning_tasks.weight_averaging import AveragedNetwork


class BaseTask(pl.LightningModule):
    """A problem that networks learn to solve; subclasses say how.

    A subclass calls this constructor, then `save_hyperparameters()`, and implements `networks`, `training_step` and
    `configure_optimizers`. It hands its training losses to `track`, which logs `train/<loss>`: means over the samples
    of an epoch.

    Args:
        data_spec: Specification of the data, linked from the datamodule's `data_spec`.
        compile: Compile the networks with torch.compile at the start of training.
        channels_last: Keep weights in channels-last memory order, which convolution kernels prefer; images follow.

    Attributes:
        monitor: Validation metric that chooses the checkpoint to be tested, unless the command line names another.
        mode: Whether the best is its greatest ("max") or its least ("min") value.
        headline: Test metrics that the tables of results show.
        learns_from_data: Whether an epoch goes through training data, not through a number of steps without any.
        units: Units of logged quantities that are neither shares nor in nats.
        watched: What a user watches, the result first: of each chart the metrics, and what each is called there.
        diagnosed: The same, of what tells why a run went wrong.
        constants: Metrics that are the same in all epochs, known once training starts; drawn as lines, in no card.
        run_facts: What the run card holds of this task besides its metrics; kept over a resume.
    """

    monitor: str
    mode: ClassVar[Literal["min", "max"]]
    headline: tuple[str, ...]
    learns_from_data: ClassVar[bool] = True
    units: Mapping[str, str] = {}
    watched: Mapping[str, Mapping[str, str]] = {}
    diagnosed: Mapping[str, Mapping[str, str]] = {}

    def __init__(self, data_spec: Mapping[str, Any], compile: bool = False, channels_last: bool = False) -> None:
        super().__init__()
        self.data_spec = dict(data_spec)
        self.compile_networks = compile
        self.channels_last = channels_last
        self.run_facts: dict[str, Any] = {}
        self.given_as_objects: list[str] = []
        self.constants: dict[str, float] = {}
        self.seed = run_seed()
        self._tracked: dict[str, list[tuple[Tensor, int]]] = {}
        self._loss_sums: dict[str, Tensor] = {}
        self._loss_counts: dict[str, int] = {}

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by name, for parameter counts and for the switches above."""
        raise NotImplementedError

    def save_hyperparameters(self, *args: Any, frame: FrameType | None = None, **options: Any) -> None:
        """Keep what a checkpoint can hold as plain data: no networks, callables and other objects given from Python.

        A command-line run saves its parsed config instead of the objects, and keeps everything.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Attribute .* is an instance of `nn.Module`")  # which is not kept
            super().save_hyperparameters(*args, frame=frame or inspect.currentframe().f_back, **options)  # type: ignore[union-attr]
        defaults = {each.name: each.default for each in inspect.signature(type(self)).parameters.values()}
        for name, value in list(self.hparams.items()):
            if not _is_plain(value):
                del self.hparams[name]
                if value is not defaults.get(name):
                    self.given_as_objects.append(name)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a resume, or a run that uses these weights, must know."""
        checkpoint["data_spec"] = dict(self.data_spec)
        checkpoint["run_facts"] = dict(self.run_facts)
        checkpoint["seed"] = self.seed
        checkpoint["task"] = type(self).__name__
        checkpoint["given_as_objects"] = self.given_as_objects

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Self:
        """Build the task anew with its trained weights.

        What it was given as objects from Python, as a network or a `functools.partial`, no checkpoint holds:
        `DFADTask.load_from_checkpoint(path, teacher=net, student=small)`.

        Args:
            checkpoint_path: A checkpoint of this class; what is no local file is left to Lightning, unchecked.
            *args: As LightningModule's.
            **options: As LightningModule's; options of the task among them replace those of the checkpoint.

        Raises:
            ValueError: If the checkpoint cannot be read as plain data, is of another class, or an object is not given
                again.
        """
        if not isinstance(checkpoint_path, (str, Path)) or not os.path.isfile(checkpoint_path):
            return super().load_from_checkpoint(checkpoint_path, *args, **options)
        if options.get("weights_only", True) is False:
            checkpoint = torch.load(checkpoint_path, weights_only=False, map_location="cpu", mmap=True)
        else:
            checkpoint = read_checkpoint(Path(checkpoint_path), "checkpoint_path")
        if (name := checkpoint.get("task", cls.__name__)) not in [each.__name__ for each in cls.__mro__]:
            raise ValueError(
                f"{checkpoint_path} is of {name}, not {cls.__name__}: {name}.load_from_checkpoint reads it"
            )
        if missing := [each for each in checkpoint.get("given_as_objects", []) if each not in options]:
            again = "".join(f", {each}=..." for each in missing)
            raise ValueError(
                f"{checkpoint_path} does not hold what {name} was given as objects; give it again:"
                f" {cls.__name__}.load_from_checkpoint(path{again})"
            )
        return super().load_from_checkpoint(checkpoint_path, *args, **options)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again; the data take the order of its classes.

        Raises:
            ValueError: If the checkpoint was made with other data.
        """
        self.match_class_order(checkpoint.get("data_spec"), "ckpt_path: the checkpoint was trained")
        here = {name: fact for name, fact in self.run_facts.items() if name.endswith("_ckpt")}  # files may have moved
        self.run_facts |= checkpoint.get("run_facts", {}) | here
        self.seed = checkpoint.get("seed", self.seed)

    def match_class_order(self, theirs: Mapping[str, Any] | None, of: str) -> None:
        """Have the classes in the order of something that was trained, here and in the data, and refuse other data.

        Args:
            theirs: Facts that it was trained with; None where they are not known.
            of: See require_equal.

        Raises:
            ValueError: If any fact differs.
        """
        self.data_spec = in_order_of(theirs, self.data_spec)
        require_equal(theirs, self.data_spec, of)
        data: Any = None if self._trainer is None else self._trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "order_classes"):
            data.order_classes(names_in(self.data_spec))

    def prepare_data(self) -> None:
        """Refuse data of the other kind, with or without training data, before anything of the run is written.

        Raises:
            ValueError: If `steps_per_epoch` is given to a task that learns from data, or is not to one that does not.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None or self.trainer.state.fn != "fit":
            return
        steps = getattr(data, "steps_per_epoch", None)
        if steps is not None and self.learns_from_data:
            raise ValueError(
                f"steps_per_epoch of the data is for training without data, got {steps}; {type(self).__name__} needs"
                " data"
            )
        if steps is None and not self.learns_from_data:
            raise ValueError(
                f"steps_per_epoch of the data must be given, e.g. 50: {type(self).__name__} trains without data, so it"
                " says how long an epoch is"
            )

    def setup(self, stage: str) -> None:
        """Check that data and callbacks fit, apply the memory order and compile, before the strategy wraps the module.

        Raises:
            ValueError: If the task was built for other data, or a callback swaps weights behind its back.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "order_classes"):
            data.order_classes(names_in(self.data_spec))
        self.match_class_order(getattr(data, "data_spec", None), "the data are")
        if stage == "fit":
            self.seed = self.trainer.strategy.broadcast(run_seed())
            for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, (WeightAveraging, StochasticWeightAveraging)):
                    raise ValueError(
                        f"{type(callback).__name__} validates other weights than are tested; give the task ema_decay,"
                        " which evaluates both side by side"
                    )
        for network in self.networks.values():
            self.make_fast(network, stage)

    def make_fast(self, network: nn.Module, stage: str) -> None:
        """Apply the two switches to a network, in place: torch.compile(network) would rename a checkpoint's keys."""
        if self.channels_last:
            self.use_channels_last(network)
        if stage == "fit" and self.compile_networks:
            network.compile()

    def use_channels_last(self, network: nn.Module) -> None:
        """Keep a network's weights in channels-last order."""
        network.to(memory_format=torch.channels_last)

    # Schedules

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any | None) -> None:
        """Step a schedule, but for those that watch a metric: Lightning would do so after `last.ckpt` is written."""
        if metric is None:
            super().lr_scheduler_step(scheduler, metric)

    def on_train_epoch_end(self) -> None:
        """Step the schedules that watch a metric, after an epoch with a validation; before `last.ckpt` is written."""
        metrics = self.trainer.callback_metrics
        for config in self.trainer.lr_scheduler_configs:
            due = config.reduce_on_plateau and (self.current_epoch + 1) % config.frequency == 0
            if due and (watched := metrics.get(str(config.monitor))) is not None:  # else Lightning says so
                config.scheduler.step(watched)  # type: ignore[arg-type]

    # Seeds

    def epoch_seed(self, epoch: int) -> int:
        """Mix seed, epoch and rank into one number, so that a resumed run repeats what an uninterrupted one did."""
        return int(np.random.SeedSequence([self.seed, epoch, self.global_rank]).generate_state(1)[0])

    @property
    def data_epoch(self) -> int:
        """The epoch whose random numbers are drawn in this one; a task that repeats epochs says which."""
        return self.current_epoch

    def on_train_start(self) -> None:
        """Refuse what half precision would make useless: an `eps` that is 0 in float16, and averages of weights.

        Raises:
            ValueError: If an optimizer's `eps`, often 1e-8, is 0 in the precision of its parameters and it would divide
                by 0, or if averaged weights would be kept in half precision, which rounds their small steps away.
        """
        averages = [each for each in self.modules() if isinstance(each, AveragedNetwork)]
        halves = {torch.float16, torch.bfloat16}
        if any(each.dtype in halves for average in averages for each in average.parameters()):
            raise ValueError(
                f"trainer.precision {self.trainer.precision}: averaged weights (ema_decay) need float32, since half"
                " precision rounds their small steps away; take 16-mixed or bf16-mixed"
            )
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                eps = group.get("eps")
                numbers = [each for each in (eps if isinstance(eps, (tuple, list)) else [eps]) if each is not None]
                half = any(each.dtype == torch.float16 for each in group["params"])
                if half and any(torch.tensor(each, dtype=torch.float16) == 0 for each in numbers):
                    raise ValueError(
                        f"trainer.precision {self.trainer.precision}: {type(optimizer).__name__}'s eps of {eps} is 0 in"
                        " float16, and weights would become nan; give the optimizer an eps of 1e-4, or take 16-mixed or"
                        " bf16-true"
                    )

    def on_train_epoch_start(self) -> None:
        """Seed everything random inside the epoch (dropout, augmentation) and start the means anew."""
        torch.manual_seed(self.epoch_seed(self.data_epoch))
        self._tracked.clear()
        self._loss_sums.clear()
        self._loss_counts.clear()

    # Training losses

    def track(self, name: str, mean: Tensor, count: int) -> None:
        """Add a batch to the mean of a loss or a share over the epoch, logged as `train/<name>`.

        Args:
            name: Name of the loss.
            mean: Over the batch, a scalar.
            count: Number of samples in the batch.
        """
        self._tracked.setdefault(name, []).append((mean.detach().float(), count))

    def _add_tracked(self) -> None:
        """Add what was tracked in a batch to the sums, those of different names in one operator."""
        for each in zip_longest(*self._tracked.values()):
            found = {name: pair for name, pair in zip(self._tracked, each, strict=True) if pair is not None}
            means, counts = zip(*found.values(), strict=True)
            for name, mean, count in zip(found, means, counts, strict=True):
                if name not in self._loss_sums:
                    self._loss_sums[name] = torch.zeros_like(mean)
                self._loss_counts[name] = self._loss_counts.get(name, 0) + count
            totals = torch._foreach_mul(means, [float(count) for count in counts])
            torch._foreach_add_([self._loss_sums[name] for name in found], totals)
        self._tracked.clear()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show the running means, and stop a diverged run before it can overwrite a good checkpoint.

        At the last batch of the epoch, also check the weights, and log the mean of each tracked loss over the samples
        of the epoch on all ranks.

        Raises:
            FloatingPointError: If a tracked loss or a weight is not finite.
        """
        self._add_tracked()
        last = self.trainer.is_last_batch
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not last and (every == 0 or (batch_idx + 1) % every):
            return  # reading a value waits for the device, so not at every batch
        if self._loss_sums:
            totals = torch.stack([*self._loss_sums.values()])
            sums = torch.stack([totals, totals.new_tensor([*self._loss_counts.values()])])
            if last:
                sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
            for name, mean in zip(self._loss_sums, (sums[0] / sums[1]).tolist(), strict=True):  # all in one wait
                if not math.isfinite(mean):
                    raise FloatingPointError(f"train/{name} became {mean} {self._diverged()}")
                self.log(name, mean, prog_bar=True, logger=False)
                if last:
                    self.log(f"train/{name}", mean, on_step=False, on_epoch=True, batch_size=1)
        if last and not all_finite([each for each in self.parameters() if each.requires_grad]):
            raise FloatingPointError(f"a weight became infinite or nan {self._diverged()}")

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """Log a value; one to be reduced over devices goes to the task's, since NCCL takes no tensor of the CPU."""
        if options.get("sync_dist") and isinstance(value, Tensor):
            value = value.to(self.device)
        super().log(name, value, *args, **options)

    def _diverged(self) -> str:
        callbacks = self.trainer.checkpoint_callbacks
        kept = [each.best_model_path for each in callbacks if isinstance(each, LastCheckpoint) and each.best_model_path]
        good = f"the last good checkpoint is {kept[0]}" if kept else "there is no good checkpoint"
        epoch = self.current_epoch + 1
        return f"in epoch {epoch}: training diverged; lower the learning rate or clip the gradients; {good}"


def all_finite(tensors: list[Tensor]) -> bool:
    """Say whether all numbers of tensors, which lie on one device, are finite; the host waits for it once."""
    return not tensors or bool(torch.stack([each.isfinite().all() for each in tensors]).all())


def _is_plain(value: Any) -> bool:
    """Say whether a value is made of numbers and strings only."""
    if isinstance(value, (dict, list, tuple)):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, (str, int, float))
