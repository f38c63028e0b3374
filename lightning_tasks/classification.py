"""Supervised classification: teachers, and every classifier that learns from labels."""

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightning_tasks.image_task import ImageTask
from lightning_tasks.losses import CrossEntropyLoss
from lightning_tasks.networks import NetworkCallable
from runs.facts import ImageFacts


class ClassificationTask(ImageTask):
    """Trains one network with cross-entropy.

    Logs `train/loss` (nats) and `train/acc` on top of ImageTask's metrics.

    Args:
        facts: See ImageFacts.
        network: The network; number of classes and image shape are given to it by the task.
        optimizer: Optimizer of the network's parameters. Default: SGD with the learning rate, momentum and weight
            decay of the usual CIFAR recipe (He et al. 2016; weight decay 5e-4 as in Zagoruyko and Komodakis 2016).
        scheduler: Learning rate schedule, stepped once an epoch.
        label_smoothing: See CrossEntropyLoss.
        ema_decay: Keep and evaluate an average of the weights with this decay, see ImageTask.average.
        compile: See BaseTask.
        channels_last: See BaseTask.
    """

    def __init__(
        self,
        facts: ImageFacts,
        network: NetworkCallable,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
        ),
        scheduler: LRSchedulerCallable | None = None,
        label_smoothing: float = 0.0,
        ema_decay: float | None = None,
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__(facts, compile, channels_last)
        self.save_hyperparameters()
        self.keep_plain_hyperparameters()
        self.network = network(self.num_classes, self.image_shape)
        self.average(self.network, ema_decay)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.loss = CrossEntropyLoss(label_smoothing)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The one network."""
        return {"network": self.network}

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.network(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the cross-entropy of one batch."""
        x, y = batch
        logits = self(x)
        loss = self.loss(logits, y)
        self.track("loss", loss, len(y))
        self.track("acc", (logits.detach().argmax(dim=1) == y).float().mean(), len(y))
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer, and the schedule under the name `lr`."""
        optimizer = self.optimizer(self.network.parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        monitor = getattr(scheduler, "monitor", None)  # of Lightning's ReduceLROnPlateau
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "name": "lr", "monitor": monitor}}
