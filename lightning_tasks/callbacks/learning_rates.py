"""The learning rates as curves."""

from pytorch_lightning import Callback, LightningModule, Trainer


class LearningRates(Callback):
    """Logs the learning rate of each epoch under the name of its schedule, with the other values of the epoch.

    Lightning's own monitor counts batches on the x axis.
    """

    only_watches = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what the epoch starts with."""
        for config in trainer.lr_scheduler_configs:
            rate = config.scheduler.optimizer.param_groups[0]["lr"]
            pl_module.log(config.name or "lr", rate, on_step=False, on_epoch=True)
