"""Options of Lightning's trainer that it would take and do nothing with, or refuse only after a run has begun."""

import os
from typing import Any

import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.trainer.states import RunningStage
from pytorch_lightning.utilities import rank_zero_warn

LEAST = {
    "max_epochs": 1,
    "max_steps": 1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_nodes": 1,
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
}
ENDLESS = ("max_epochs", "max_steps")  # with -1
LAUNCHERS = (
    "MASTER_ADDR",
    "SLURM_NTASKS",
    "TORCHELASTIC_RUN_ID",
)  # what tells processes of several machines of each other
MOST_PROCESSES = 8  # on a CPU of fewer cores


def require_trainer(options: Any, subcommand: str, tests: bool) -> None:
    """Refuse options with which nothing would be done, or that no machine can follow, before anything is written.

    Warns of last epochs that are not validated.

    Args:
        options: The trainer's, as parsed.
        subcommand: Subcommand of the command line.
        tests: Whether a test follows the fit.

    Raises:
        ValueError: Says option, value and what is allowed.
    """
    for option, least in LEAST.items():
        value = options.get(option)
        if value is not None and value < least and not (option in ENDLESS and value == -1):
            raise ValueError(f"trainer.{option} must be at least {least}, got {value}")
    if options.max_epochs == -1 and options.max_steps in (None, -1) and options.max_time is None:
        raise ValueError("trainer.max_epochs: -1 has no end; give max_steps or max_time too")
    if options.min_epochs and options.max_epochs not in (None, -1) and options.min_epochs > options.max_epochs:
        raise ValueError(
            f"trainer.min_epochs must be at most max_epochs, {options.max_epochs}, got {options.min_epochs}"
        )
    if options.max_time is not None:
        left = Timer(options.max_time).time_remaining(RunningStage.TRAINING)
        if left is not None and left <= 0:
            raise ValueError(f"trainer.max_time must be above 0, got {options.max_time}")
    if options.val_check_interval == 0:
        raise ValueError("trainer.val_check_interval must be above 0, got 0; without validation: limit_val_batches 0")
    if options.gradient_clip_val is not None and options.gradient_clip_val < 0:
        raise ValueError(f"trainer.gradient_clip_val must not be negative, got {options.gradient_clip_val}")
    if options.enable_checkpointing is False:
        raise ValueError("trainer.enable_checkpointing must be true: a run is tested and resumed from its checkpoints")
    needed = {"fit": ["train", *(["test"] if tests else [])], "validate": ["val"]}.get(subcommand, [subcommand])
    for part in needed:
        if options.get(f"limit_{part}_batches") == 0:
            raise ValueError(f"trainer.limit_{part}_batches must be above 0 in {subcommand}, got 0")
    every = options.check_val_every_n_epoch or 1
    if subcommand == "fit" and (options.max_epochs or 0) > 0 and (left := options.max_epochs % every):
        rank_zero_warn(
            f"trainer.max_epochs {options.max_epochs} is no multiple of check_val_every_n_epoch {every}: what the last"
            f" {left} epochs bring is neither validated nor tested"
        )
    _require_hardware(options)


def on_cpu(options: Any) -> bool:
    """Say whether the trainer will use the CPU."""
    return options.accelerator == "cpu" or (options.accelerator == "auto" and not torch.accelerator.is_available())


def on_cuda(options: Any) -> bool:
    """Say whether the trainer will use a CUDA GPU."""
    return options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _require_hardware(options: Any) -> None:
    if options.num_nodes > 1 and not any(name in os.environ for name in LAUNCHERS):
        raise ValueError(
            f"trainer.num_nodes: {options.num_nodes} machines need a launcher, as torchrun or Slurm, or MASTER_ADDR and"
            " NODE_RANK in the environment of each"
        )
    if not on_cpu(options) or options.devices == "auto":
        return
    most = max(MOST_PROCESSES, os.cpu_count() or 1)
    try:
        count = int(options.devices)
    except (TypeError, ValueError):
        count = 0
    if not 1 <= count <= most:
        raise ValueError(f"trainer.devices must be 1 to {most} processes on this CPU, got {options.devices}")
