"""Supervised classification: teachers, and every classifier that learns from labels."""

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightning_tasks.base import BaseTask
from lightning_tasks.losses import CrossEntropyLoss
from lightning_tasks.networks import ImageShape, NetworkCallable


class ClassificationTask(BaseTask):
    """Trains one network with cross-entropy.

    Logs `train/loss` (nats) and `train/acc` on top of BaseTask's metrics.

    Args:
        num_classes: Number of classes of the data.
        image_shape: Channels, height and width of an image.
        mean: Mean of each channel, see BaseTask.
        std: Standard deviation of each channel, see BaseTask.
        network: The network; number of classes and image shape are given to it by the task.
        optimizer: Optimizer of the network's parameters. Default: SGD with the learning rate, momentum and weight
            decay of the usual CIFAR recipe (He et al. 2016; weight decay 5e-4 as in Zagoruyko and Komodakis 2016).
        scheduler: Learning rate schedule, stepped once an epoch.
        label_smoothing: See CrossEntropyLoss.
        compile: See BaseTask.
        channels_last: See BaseTask.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: ImageShape,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        network: NetworkCallable,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
        ),
        scheduler: LRSchedulerCallable | None = None,
        label_smoothing: float = 0.0,
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__(num_classes, image_shape, mean, std, compile, channels_last)
        self.save_hyperparameters()
        self.keep_plain_hyperparameters()
        self.network = network(num_classes, image_shape)
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
        self.track("loss", loss)
        self.track("acc", (logits.detach().argmax(dim=1) == y).float().mean())
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer, and the schedule under the name `lr`."""
        optimizer = self.optimizer(self.network.parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        monitor = getattr(scheduler, "monitor", None)  # of Lightning's ReduceLROnPlateau
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "name": "lr", "monitor": monitor}}
