"""What tasks of image classification share: how networks are evaluated, and what their layers give."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from lightning_tasks.base import BaseTask
from lightning_tasks.losses import CrossEntropyLoss
from lightning_tasks.networks import Generator, eval_mode, recorded
from lightning_tasks.runs.data_spec import ImageDataSpec
from lightning_tasks.weight_averaging import AveragedNetwork


class Evaluation(nn.Module):
    """Counts right and wrong answers of one network, and the mean of its cross-entropy.

    A confusion matrix is a count per (true, predicted) pair; accuracy is its diagonal. It stays readable after an
    evaluation, for plots. Nothing is summed over devices: each evaluates all samples.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.confusion = MulticlassConfusionMatrix(num_classes, sync_on_compute=False)
        self.mean_loss = MeanMetric(sync_on_compute=False)
        self.loss = CrossEntropyLoss()

    def reset(self) -> None:
        """Start counting anew."""
        self.confusion.reset()
        self.mean_loss.reset()

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Take in the logits (B, num_classes) of images with labels y (B,)."""
        self.confusion.update(logits, y)
        self.mean_loss.update(self.loss(logits, y), len(y))

    def log(self, task: LightningModule, stage: str, suffix: str) -> None:
        """Log `<stage>/acc<suffix>` and `<stage>/loss<suffix>`."""
        # sync_dist: where loaders share the samples out, as Lightning's sampler does with a user's own, the mean of
        # equal parts is that of the whole; where each device has all, it is what it was.
        shown = stage == "val" and not suffix
        task.log(f"{stage}/acc{suffix}", accuracy(self.confusion.compute()), prog_bar=shown, sync_dist=True)
        task.log(f"{stage}/loss{suffix}", self.mean_loss.compute(), sync_dist=True)


class ImageTask(BaseTask):
    """Classification of images: `forward` maps images (B, C, H, W) to logits (B, num_classes).

    Logs `val/acc`, `test/acc` in [0, 1] and `val/loss`, `test/loss`, the cross-entropy in nats; and the same with a
    suffix for further networks that a subclass adds to `evaluated`, as `test/acc_ema`. Batches are (x, y): x
    normalised float images (B, C, H, W), y int64 (B,).

    Args:
        data_spec: See ImageDataSpec.
        compile: See BaseTask.
        channels_last: See BaseTask.

    Raises:
        ValueError: If mean, std and image_shape have different numbers of channels.
    """

    monitor = "val/acc"
    mode = "max"
    headline: tuple[str, ...] = ("test/acc",)
    watched: Mapping[str, Mapping[str, str]] = {
        title: {
            f"val/{quantity}": "validation",
            f"val/{quantity}_ema": "validation, averaged weights",
            f"train/{quantity}": "training",
            f"test_curve/{quantity}": "test",
        }
        for quantity, title in (("acc", "accuracy"), ("loss", "cross-entropy"))
    }

    def __init__(self, data_spec: ImageDataSpec, compile: bool = False, channels_last: bool = False) -> None:
        super().__init__(data_spec, compile, channels_last)
        self.num_classes = data_spec["num_classes"]
        self.image_shape = data_spec["image_shape"]
        self.mean = tuple(data_spec["mean"])
        self.std = tuple(data_spec["std"])
        if not len(self.mean) == len(self.std) == self.image_shape[0]:
            raise ValueError(
                f"images of {self.image_shape[0]} channels need as many means and stds, got {self.mean} and {self.std}"
            )
        self.evaluations = nn.ModuleDict()
        self.ema: AveragedNetwork | None = None
        self._in_plain_order: list[nn.Module] = []  # networks that cannot compute in channels-last order

    def use_channels_last(self, network: nn.Module) -> None:
        """Keep weights in channels-last order if the network can compute so; else say that it cannot, as with `view`.

        Its images are then brought into plain order too, since a generator's are not.
        """
        if network in self._in_plain_order:
            return
        super().use_channels_last(network)
        if isinstance(network, Generator):
            return
        weight = next(network.parameters(), torch.zeros(()))
        x = torch.zeros((2, *self.image_shape), dtype=weight.dtype, device=weight.device)
        try:
            for training in {False, network.training}:
                with torch.random.fork_rng([]), eval_mode(network, training):
                    network(x.to(memory_format=torch.channels_last))
        except RuntimeError as error:
            network.to(memory_format=torch.contiguous_format)
            network.register_forward_pre_hook(_in_plain_order)
            self._in_plain_order.append(network)
            name = next((name for name, each in self.networks.items() if each is network), None)
            if name is not None:  # else it is a copy of one
                reason = " ".join(str(error).split())[:100]
                rank_zero_info(f"{name}: channels_last is left off, for it cannot compute so ({reason})")

    # Averaged weights

    def average(self, network: nn.Module, decay: float | None) -> None:
        """Keep an exponential moving average of a network after each training step, evaluated as `_ema`.

        Args:
            network: Network in training.
            decay: Decay of the average, in (0, 1); None keeps no average.

        Raises:
            ValueError: If the decay is out of range.
        """
        if decay is not None:
            self._averaged = [network]  # in a list, since it is no second child
            self.ema = AveragedNetwork(network, decay, "ema_decay")

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Step, then update the average: once a step, which may accumulate several batches."""
        super().optimizer_step(*args, **options)
        self.update_average()

    def update_average(self) -> None:
        """Update the averaged weights; a task with manual optimization calls it after each step."""
        if self.ema is not None:
            self.ema.update_parameters(self._averaged[0])

    # Evaluation

    def evaluated(self, stage: str) -> dict[str, Callable[[Tensor], Tensor]]:
        """Give what maps images to logits in an evaluation, by the suffix of its metrics; "" is the task itself.

        Args:
            stage: "val" or "test".
        """
        del stage
        return {"": self} if self.ema is None else {"": self, "_ema": self.ema}

    def as_tested(self, network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Give what an evaluation asks of a network that maps images to logits: itself, or a mean over views."""
        return network

    def tested_logits(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits of the classes (B, num_classes) as the test does, see `evaluated`."""
        return self.evaluated("test")[""](x)[:, : self.num_classes]

    def new_evaluation(self) -> Evaluation:
        """Give what counts the answers of one network."""
        return Evaluation(self.num_classes)

    @property
    def test_confusion(self) -> MulticlassConfusionMatrix:
        """Counts of the last test, rows true and columns predicted classes."""
        return self.evaluations["test"].confusion  # type: ignore[return-value]

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self._reset("val")

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        self._reset("test")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Evaluate a batch."""
        self._evaluate("val", *batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Evaluate a batch; returns the task's own logits (B, num_classes), for plots."""
        return self._evaluate("test", *batch)[""]

    def on_validation_epoch_end(self) -> None:
        """Log `val/acc` and `val/loss`."""
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """Log `test/acc` and `test/loss`."""
        self._log("test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Return class probabilities (B, num_classes), as in the test, and the labels (B,) to compare them with."""
        x, y = batch
        return self.tested_logits(x).float().softmax(dim=1), y

    def _reset(self, stage: str) -> None:
        for suffix in self.evaluated(stage):
            name = stage + suffix
            if name not in self.evaluations:
                self.evaluations[name] = self.new_evaluation().to(self.device)
            self.evaluations[name].reset()  # type: ignore[operator]

    def _evaluate(self, stage: str, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Count the answers of each evaluated network; returns their logits by suffix."""
        logits = {suffix: network(x) for suffix, network in self.evaluated(stage).items()}
        for suffix, values in logits.items():
            self.evaluations[stage + suffix].update(values, y)  # type: ignore[operator]
        return logits

    def _log(self, stage: str) -> None:
        for suffix in self.evaluated(stage):
            self.evaluations[stage + suffix].log(self, stage, suffix)  # type: ignore[operator]

    # What plots ask for

    def answers(self, x: Tensor) -> Tensor:
        """Say which classes (B,) the task sees in images, in evaluation mode and without gradients.

        Args:
            x: Images (B, C, H, W), normalised; on any device.
        """
        with eval_mode(self):
            return self(x.to(self.device).to(self.dtype)).argmax(dim=1)

    def layer_outputs(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Compute what named layers give for images, in evaluation mode and without gradients.

        Args:
            x: Images (B, C, H, W), normalised; on any device.
            layers: Keys of `named_modules`.

        Returns:
            The output of each layer by its name.

        Raises:
            ValueError: If there is no such layer, or it takes no part in `forward` or gives no tensor.
        """
        with recorded(self, layers) as outputs:
            self.answers(x)
        return outputs


def accuracy(confusion: Tensor) -> Tensor:
    """Compute the share of right answers from a confusion matrix (num_classes, num_classes) of counts."""
    return confusion.trace() / confusion.sum()


def share_right(logits: Tensor, y: Tensor) -> Tensor:
    """Compute the share of right answers from logits (B, C) and labels (B,) or soft ones (B, C)."""
    hard = y.argmax(dim=1) if y.ndim == 2 else y
    return (logits.detach().argmax(dim=1) == hard).float().mean()


def _in_plain_order(network: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].contiguous(),)
