"""What all tasks share: data facts, seeding, evaluation by counts, loss tracking, switches of the networks."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from lightning_tasks.networks import ImageShape


class BaseTask(pl.LightningModule):
    """An image classification problem: subclasses say how their network learns.

    A subclass calls this constructor, then `save_hyperparameters()`, and implements `forward` (images to logits),
    `training_step` and `configure_optimizers`. It hands its training losses to `track`.

    Logs `train/<loss>` per epoch, `val/acc`, `test/acc` in [0, 1]. Batches are (x, y): x normalised float images
    (B, C, H, W), y int64 (B,).

    Args:
        num_classes: Number of classes of the data.
        image_shape: Channels, height and width of an image.
        mean: Mean of each channel of the training images in [0, 1], which the data are normalised by.
        std: Standard deviation of each channel, likewise.
        compile: Compile the networks with torch.compile at the start of training.
        channels_last: Keep weights in channels-last memory order, which convolution kernels prefer; images follow.

    Raises:
        ValueError: If mean, std and image_shape have different numbers of channels.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if not len(mean) == len(std) == image_shape[0]:
            raise ValueError(f"images of {image_shape[0]} channels need as many means and stds, got {mean} and {std}")
        self.num_classes = num_classes
        self.image_shape = image_shape
        self.mean = mean
        self.std = std
        self.compile_networks = compile
        self.channels_last = channels_last
        # A confusion matrix is a count per (true, predicted) pair; accuracy is its diagonal. One update a batch.
        self.val_confusion = MulticlassConfusionMatrix(num_classes)
        self.test_confusion = MulticlassConfusionMatrix(num_classes, sync_on_compute=False)  # each device tests all
        self.run_facts: dict[str, Any] = {}
        self._loss_sums: dict[str, Tensor] = {}
        self._loss_counts: dict[str, int] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; Lightning's note of the hook, some forty times a batch, without nn.Module's search."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by name, for parameter counts and for the switches above."""
        raise NotImplementedError

    def keep_plain_hyperparameters(self) -> None:
        """Drop what a checkpoint could not hold as plain data: callables and other objects given from Python.

        A command-line run saves its parsed config instead of the objects, and keeps everything.
        """
        for name, value in list(self.hparams.items()):
            if not _is_plain(value):
                del self.hparams[name]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the facts for the run card over a resume."""
        checkpoint["run_facts"] = dict(self.run_facts)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the facts up again."""
        self.run_facts |= checkpoint.get("run_facts", {})

    # Seeding

    def epoch_seed(self, epoch: int) -> int:
        """Mix seed, epoch and rank into one number, so that a resumed run repeats what an uninterrupted one did."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        return int(np.random.SeedSequence([seed, epoch, self.global_rank]).generate_state(1)[0])

    def setup(self, stage: str) -> None:
        """Apply the memory order and compile, before the strategy wraps the module."""
        for network in self.networks.values():
            if self.channels_last:
                network.to(memory_format=torch.channels_last)
            if stage == "fit" and self.compile_networks:
                network.compile()  # in place: torch.compile(network) would rename the keys of the checkpoint

    def on_train_epoch_start(self) -> None:
        """Seed everything random inside the epoch (dropout, augmentation) and start the means anew."""
        torch.manual_seed(self.epoch_seed(self.current_epoch))
        self._loss_sums.clear()
        self._loss_counts.clear()

    # Training losses

    def track(self, name: str, value: Tensor) -> None:
        """Add a loss or a share of one batch to its mean over the epoch, logged as `train/<name>`."""
        value = value.detach()
        self._loss_sums[name] = self._loss_sums[name] + value if name in self._loss_sums else value
        self._loss_counts[name] = self._loss_counts.get(name, 0) + 1

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show the running means, and stop a diverged run before it can overwrite a good checkpoint.

        At the last batch of the epoch, also check the weights, and log the mean of each tracked loss over the epoch and
        all ranks.

        Raises:
            FloatingPointError: If a tracked loss or a weight is not finite.
        """
        last = self.trainer.is_last_batch
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_idx + 1) % every and not last:
            return  # reading a value waits for the device, so not at every batch
        for name, total in self._loss_sums.items():
            mean = (total / self._loss_counts[name]).item()
            if not math.isfinite(mean):
                raise FloatingPointError(
                    f"train/{name} became {mean} in epoch {self.current_epoch}: training diverged; lower the learning"
                    " rate or clip the gradients. The checkpoints of the epochs before are kept"
                )
            self.log(name, mean, prog_bar=True, logger=False)
            if last:
                self.log(f"train/{name}", mean, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
        if last and not all(parameter.isfinite().all() for parameter in self.parameters()):
            raise FloatingPointError(
                f"a weight became infinite or nan in epoch {self.current_epoch}: training diverged; lower the learning"
                " rate or clip the gradients. The checkpoints of the epochs before are kept"
            )

    # What pictures ask for

    def layer_outputs(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Compute what named layers give for images, in evaluation mode and without gradients.

        Args:
            x: Images (B, C, H, W), normalised.
            layers: Keys of `named_modules`.

        Returns:
            The output of each layer by its name.

        Raises:
            ValueError: If there is no such layer, or it takes no part in `forward` or gives no tensor.
        """
        modules = dict(self.named_modules())
        require_layers(layers, [name for name in modules if name])
        outputs: dict[str, Tensor] = {}
        modes = [(module, module.training) for module in self.modules()]
        hooks = [
            modules[name].register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
            for name in layers
        ]
        self.eval()
        try:
            with torch.no_grad():
                self(x)
        finally:
            for hook in hooks:
                hook.remove()
            for module, mode in modes:
                module.training = mode
        for name in layers:
            if not isinstance(outputs.get(name), Tensor):
                raise ValueError(f"layer {name!r} gives no tensor when the network maps images to scores")
        return outputs

    # Evaluation. Counts are reset when an evaluation starts, so that they stay readable after it, for pictures.

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self.val_confusion.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count right and wrong answers."""
        x, y = batch
        self.val_confusion.update(self(x), y)

    def on_validation_epoch_end(self) -> None:
        """Log `val/acc`."""
        self.log("val/acc", accuracy(self.val_confusion.compute()), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        self.test_confusion.reset()

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count right and wrong answers."""
        x, y = batch
        self.test_confusion.update(self(x), y)

    def on_test_epoch_end(self) -> None:
        """Log `test/acc`."""
        self.log("test/acc", accuracy(self.test_confusion.compute()))

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Return class probabilities (B, num_classes) and the labels (B,) they may be compared with."""
        x, y = batch
        return self(x).float().softmax(dim=1), y


def require_layers(layers: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names of layers that a network does not have."""
    for name in layers:
        if name not in known:
            more = f" and {len(known) - 40} more" if len(known) > 40 else ""
            raise ValueError(f"no layer {name!r} in the network; known are {', '.join(known[:40])}{more}")


def _is_plain(value: Any) -> bool:
    """Say whether a value is made of numbers and strings only."""
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (str, int, float))


def accuracy(confusion: Tensor) -> Tensor:
    """Compute the share of right answers from a confusion matrix (num_classes, num_classes) of counts."""
    return confusion.trace() / confusion.sum()
