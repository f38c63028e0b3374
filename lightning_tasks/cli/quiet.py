"""Messages of libraries that say nothing to whoever runs an experiment."""

import logging
import re
import warnings
from pathlib import Path

PACKAGES = (Path(__file__).parents[1], Path(__file__).parents[2] / "datamodules")
FORMAT = warnings.formatwarning  # Lightning's by now

HARMLESS_WARNINGS = (
    "Your `IterableDataset` has `__len__` defined",  # a data-free epoch has no worker processes
    "Found .* module.* in eval mode at the start of training",  # the frozen teacher is meant to be
    "It is recommended to use .self.log.*sync_dist=True",  # counts are summed over the ranks before they are logged
    ".*isinstance.treespec, LeafSpec",  # https://github.com/Lightning-AI/pytorch-lightning/issues/21326
    "Checkpoint directory .* exists and is not empty",  # of the run that is resumed
    "Found keys that are in the model state dict but not in the checkpoint",  # the teacher is left out of checkpoints
    "The '.*_dataloader' does not have many workers",  # whole batches come from memory
    "Detected call of .lr_scheduler.step",  # of a student while its generator is pretrained
    "The number of training batches .* is smaller than the logging interval",  # the last batch of an epoch logs too
    "LightningCLI's args parameter",  # words that are not those of this process are meant
)

# Of Lightning's loggers, by their names: what the first and last lines of a run say themselves, or what is of no use.
HARMLESS_MESSAGES = {
    "pytorch_lightning.utilities.rank_zero": (
        "Tip: For seamless",
        "^(GPU|TPU|HPU) available: ",
        "Using (16bit|bfloat16) Automatic Mixed Precision",
        "Restor(ing|ed) (all )?states from the checkpoint",
        "Loaded model weights from the checkpoint",
        "`Trainer.fit` stopped: `max_epochs=",
        "-+\\ndistributed_backend=",
        "Loading `train_dataloader` to estimate",
    ),
    "pytorch_lightning.accelerators.cuda": ("LOCAL_RANK: ",),
    "lightning_fabric.utilities.distributed": ("Initializing distributed: ",),
    "lightning_fabric.utilities.seed": (r"(\[rank: \d+\] )?Seed set to ",),
}


def silence_harmless_messages() -> None:
    """Leave out warnings that tell no fault, and what Lightning says that is said elsewhere or helps nobody."""
    warnings.formatwarning = _format
    for message in HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    for name in HARMLESS_MESSAGES:
        logging.getLogger(name).addFilter(_is_of_use)


def _is_of_use(record: logging.LogRecord) -> bool:
    return re.search("|".join(HARMLESS_MESSAGES[record.name]), record.getMessage()) is None


def _format(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Write a warning of this project, which names options, without the line of code that it comes from."""
    if any(Path(filename).is_relative_to(package) for package in PACKAGES):
        return f"warning: {message}\n"
    return FORMAT(message, category, filename, lineno, line)
