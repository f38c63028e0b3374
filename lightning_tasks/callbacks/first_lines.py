"""What is trained, on what, how long and where: the first lines of a fit."""

from collections.abc import Sized
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from lightning_tasks.base import BaseTask
from lightning_tasks.callbacks.run_card import RunCard, device_name
from lightning_tasks.networks import count_parameters
from lightning_tasks.runs.folders import run_folder
from lightning_tasks.runs.formatting import hardware
from lightning_tasks.runs.paths import shown


class FirstLines(Callback):
    """Prints them.

    Args:
        networks: Whether each network gets a line; `NetworkSummary` prints its layers.
    """

    only_watches = True

    def __init__(self, networks: bool = True) -> None:
        self.networks = networks

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is trained on what, and where it will lie."""
        folder = run_folder(trainer)
        if not trainer.is_global_zero:
            return
        task = cast(BaseTask, pl_module)
        experiment = next((each.experiment for each in trainer.callbacks if isinstance(each, RunCard)), "fit")  # type: ignore[attr-defined]
        lines = [f"{experiment}: {type(task).__name__}", f"data: {_data(trainer.datamodule)}"]  # type: ignore[attr-defined]
        if self.networks:
            lines += _networks(task)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            lines.append(f"folder: {shown(folder)}")
        print("\n".join(lines), flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how much is to be done, which a resumed run knows now."""
        if not trainer.is_global_zero:
            return
        done, most = trainer.current_epoch, trainer.max_epochs or -1
        epochs = f"{most - done:,} {'more ' if done else ''}epoch{'s' * (most - done != 1)}" if most > 0 else "epochs"
        of = f"{epochs} of {trainer.num_training_batches:,} step{'s' * (trainer.num_training_batches != 1)}"
        seed = cast(BaseTask, pl_module).seed
        print(f"training: {of}, {trainer.precision}, {hardware(device_name(trainer))}, seed {seed}", flush=True)


def _data(data: Any) -> str:
    """Say what the run trains and validates on."""
    train, val = getattr(data, "train_set", None), getattr(data, "val_set", None)
    name = data.dataset_name
    words = ["none for training" if data.steps_per_epoch is not None else f"{name}, {_count(train)} for training"]
    if val is not None:
        words.append(f"{_count(val)} {f'from {name} ' if train is None else ''}for validation")
    return ", ".join(words)


def _count(part: Any) -> str:
    return f"{len(part):,} samples" if isinstance(part, Sized) else "samples"


def _kind(network: nn.Module) -> str:
    """Name what a network is; of one by hand there are only the parameters."""
    return "layers by hand" if isinstance(network, nn.ParameterDict) else type(network).__name__


def _networks(task: BaseTask) -> list[str]:
    """Describe each network in a line."""
    counts = {name: count_parameters(network) for name, network in task.networks.items()}
    lines = []
    for name, network in task.networks.items():
        words = [_kind(network), f"{counts[name]:,} parameters"]
        trained = count_parameters(network, trained_only=True)
        if trained < counts[name]:
            words.append(f"{trained:,} trained" if trained else "frozen")
        if name == "student" and counts.get("teacher"):
            words.append(f"{counts[name] / counts['teacher']:.1%} of the teacher's")
        lines.append(f"{name}: {', '.join(words)}")
    return lines
