"""Supervised classification: teachers, and every classifier that learns from labels."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightning_tasks.classification.fine_tuning import FrozenStart, decay_rates, groups_by_depth, load_pretrained
from lightning_tasks.image_task import ImageTask, share_right
from lightning_tasks.losses import CrossEntropyLoss
from lightning_tasks.networks import ImageNetwork, Initialisation, NetworkCallable, build_network, initialise
from lightning_tasks.runs.data_spec import ImageDataSpec
from lightning_tasks.schedules import Interval, planned


class ClassificationTask(ImageTask):
    """Trains one network with cross-entropy.

    Logs `train/loss` (nats) and `train/acc` on top of ImageTask's metrics. Labels may be soft, as MixUp and CutMix make
    them: `train/acc` then counts the class of the greatest share as right.

    Args:
        data_spec: See ImageDataSpec.
        network: The network; number of classes and image shape are given to it by the task.
        initialisation: Draw the network's weights anew, by this rule; else they start as its class says.
        network_ckpt: Start from these weights, see fine_tuning.load_pretrained.
        trained_layers: Train this many layers at the network's end only, see fine_tuning.FrozenStart; all if not given.
            What the others make of an image is computed once, where the images are the same in each epoch.
        layer_decay: Multiply the learning rate by this for each layer further from the end, in (0, 1].
        optimizer: Optimizer of the network's parameters. Default: SGD with the learning rate, momentum and weight
            decay of the usual CIFAR recipe (He et al. 2016; weight decay 5e-4 as in Zagoruyko and Komodakis 2016).
        scheduler: Learning rate schedule.
        scheduler_interval: Step the schedule once an epoch, or at each step of the optimizer; then it gets the
            number of steps of the whole training as `total_steps`, as torch's OneCycleLR takes it.
        label_smoothing: See CrossEntropyLoss.
        class_weights: See CrossEntropyLoss; validation and test are not weighted.
        test_time_flip: Whether evaluations and predictions take the mean of the logits of an image and its mirror
            image. An exported network does not.
        ema_decay: Keep and evaluate an average of the weights with this decay, see ImageTask.average.
        compile: See BaseTask.
        channels_last: See BaseTask.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        data_spec: ImageDataSpec,
        network: NetworkCallable,
        initialisation: Initialisation | None = None,
        network_ckpt: str | None = None,
        trained_layers: int | None = None,
        layer_decay: float = 1.0,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Interval = "epoch",
        label_smoothing: float = 0.0,
        class_weights: list[float] | None = None,
        test_time_flip: bool = False,
        ema_decay: float | None = None,
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__(data_spec, compile, channels_last)
        self.save_hyperparameters()
        self.network = build_network(network, self.num_outputs, self.image_shape)
        if initialisation is not None:
            initialise(self.network, initialisation)
        self.network_ckpt = network_ckpt
        self.frozen = None if trained_layers is None else FrozenStart(self.network, trained_layers)
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay must be in (0, 1], got {layer_decay}")
        if layer_decay < 1:
            groups_by_depth(self.network)  # so that a network of one layer is refused before anything is read
        self.layer_decay = layer_decay
        self._features = False  # whether batches hold what the frozen layers made of images
        self.average(self.network, ema_decay)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        if class_weights is not None and len(class_weights) != self.num_classes:
            raise ValueError(f"class_weights: {len(class_weights)} of them for {self.num_classes} classes")
        self.loss = CrossEntropyLoss(label_smoothing, class_weights)
        self.test_time_flip = test_time_flip

    @property
    def num_outputs(self) -> int:
        """How many numbers the network gives for an image."""
        return self.num_classes

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The one network."""
        return {"network": self.network}

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.network(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss of one batch."""
        x, y = batch
        return self.training_loss(self.frozen.end(x) if self.frozen and self._features else self.network(x), y)

    def training_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the cross-entropy of what the network gives (B, num_outputs), with labels (B,) or soft labels."""
        loss = self.loss(outputs, y)
        self.track("loss", loss, len(y))
        self.track("acc", share_right(outputs, y), len(y))
        return loss

    def evaluated(self, stage: str) -> dict[str, Callable[[Tensor], Tensor]]:
        """Evaluate each network on mirrored images too, if that is asked for."""
        networks = super().evaluated(stage) | {"": self.network}  # with all its outputs, as the average has them
        if stage == "val" and self.frozen and self._features:
            return {suffix: self.frozen.end_of(self._module(suffix)) for suffix in networks}
        return {suffix: self.as_tested(each) for suffix, each in networks.items()}

    def as_tested(self, network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Average over an image and its mirror image, if that is asked for."""
        return (lambda x: (network(x) + network(x.flip(-1))) / 2) if self.test_time_flip else network

    # Fine-tuning

    def setup(self, stage: str) -> None:
        """Load the weights to start from, then what every task does."""
        if stage == "fit" and self.network_ckpt is not None:
            self.run_facts["network_sha256"] = load_pretrained(self.network, self.network_ckpt)
            if self.ema is not None:
                self.ema.module.load_state_dict(self.network.state_dict())
        super().setup(stage)

    def _precompute(self) -> None:
        """Compute what the frozen layers make of the images, if that stays the same and nothing asks for images."""
        if self.frozen and len(self.frozen.start) and not self.test_time_flip:
            self.frozen.freeze()
            start = self.frozen.start
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self._features = data.precompute(lambda x: start(x.to(self.dtype)), self.device)

    def on_fit_end(self) -> None:
        """Expect images again, which the datamodule has then."""
        self._features = False

    def on_train_epoch_start(self) -> None:
        """Do what every task does, with the frozen layers in eval mode."""
        super().on_train_epoch_start()
        if self.frozen:
            self.frozen.freeze()

    def _module(self, suffix: str) -> ImageNetwork:
        return self.network if not suffix else self.ema.module  # type: ignore[union-attr,return-value]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer, and the schedule under the name `lr`."""
        if self.frozen:
            self.frozen.find(self.network)
        self._precompute()  # after weights are restored, and before a schedule's length asks for the loaders
        optimizer = self.optimizer(groups_by_depth(self.network) if self.layer_decay < 1 else self._trained())
        plan = planned(self, self.scheduler, optimizer, self.scheduler_interval)
        decay_rates(optimizer, plan.get("lr_scheduler", {}).get("scheduler"), self.layer_decay)
        return plan

    def _trained(self) -> list[Any]:
        return [each for each in self.network.parameters() if each.requires_grad]
