"""Messages of libraries that say nothing to whoever runs an experiment."""

import logging
import warnings

HARMLESS_WARNINGS = (
    "Your `IterableDataset` has `__len__` defined",  # a data-free epoch has no worker processes
    "Found .* module.* in eval mode at the start of training",  # the frozen teacher is meant to be
    "It is recommended to use .self.log.*sync_dist=True",  # counts are summed over the ranks before they are logged
    ".*isinstance.treespec, LeafSpec",  # https://github.com/Lightning-AI/pytorch-lightning/issues/21326
    "Checkpoint directory .* exists and is not empty",  # of the run that is gone on with
    "Found keys that are in the model state dict but not in the checkpoint",  # the teacher is left out of checkpoints
    "The '.*_dataloader' does not have many workers",  # whole batches come from memory
    "Detected call of .lr_scheduler.step",  # of a student that waits for its generator to warm up
    "LightningCLI's args parameter",  # words that are not those of this process are meant
)


def silence_harmless_messages() -> None:
    """Leave out warnings that tell no fault, and Lightning's advertisements."""
    for message in HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()
