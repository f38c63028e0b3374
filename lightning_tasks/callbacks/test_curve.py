"""The test error after each epoch, for courses that ask for its curve."""

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn import functional as F


class TestCurve(Callback):
    """Logs `test_curve/loss` (nats) and `test_curve/acc` of the test set with each validation.

    Only to be looked at. Nothing chooses by it: the checkpoint is chosen on validation data, and `test/acc` is measured
    once, at the end.
    """

    only_watches = True
    __test__ = False  # not a test of pytest's

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the test set."""
        if trainer.sanity_checking:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        loss, right, count = 0.0, 0, 0
        for batch in data.test_dataloader():
            x, y = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, pl_module.device, 0), 0)
            logits = pl_module.tested_logits(x).float()  # type: ignore[operator]
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += int((logits.argmax(dim=1) == y).sum())
            count += len(y)
        pl_module.log_dict({"test_curve/loss": loss / count, "test_curve/acc": right / count})
