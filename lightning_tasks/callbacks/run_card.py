"""The run card: what a run was and what came of it, as data."""

import json
import os
import platform
import resource
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_tasks.callbacks.pictures import run_folder
from lightning_tasks.networks import count_parameters

if TYPE_CHECKING:
    from lightning_tasks import BaseTask

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "jsonargparse", "numpy")


class RunCard(Callback):
    """Measures a `fit`, and after the test that follows it writes `run.json` into the log folder.

    Args:
        experiment: Name of the experiment.
        seed: Seed of the run.
        command: Command line that repeats it.
        config_hash: Equal for runs of the same configuration, whatever their seed and folders.
    """

    def __init__(self, experiment: str, seed: int, command: str, config_hash: str) -> None:
        self.experiment = experiment
        self.seed = seed
        self.command = command
        self.config_hash = config_hash
        self.seconds = 0.0  # of fit, with the part before a resume
        self.validations: dict[str, list[float]] = {}
        self.facts: dict[str, Any] = {}  # what the task adds
        self.commits = [commit()]  # now, since the code in memory is not what is on disk later; one more a resume
        self._started: float | None = None
        self._finished = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count parameters as the config made the networks, before the task may transform one."""
        if stage == "fit":
            self.parameters = {
                name: count_parameters(network) for name, network in cast("BaseTask", pl_module).networks.items()
            }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()
        if on_cuda(trainer):
            torch.cuda.reset_peak_memory_stats()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was measured, for the best, the last and the mean."""
        if trainer.sanity_checking:
            return
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/"):
                self.validations.setdefault(name, []).append(value.item())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, and close the record: the test that follows restores an earlier checkpoint."""
        self.seconds = self._elapsed()
        self._finished = True
        self.facts = {
            "epochs": trainer.current_epoch,
            "peak_memory_mb": round(peak_memory_mb(trainer)),
            **cast("BaseTask", pl_module).run_facts,
        }

    def write(self, trainer: Trainer) -> Path:
        """Write the card of the finished run, whole or not at all; called on all ranks, written by rank zero.

        Args:
            trainer: After `fit` and `test`; its metrics are those of the test.

        Returns:
            The path of the card.
        """
        path = run_folder(trainer) / "run.json"
        if not trainer.is_global_zero:
            return path
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        checkpoint = trainer.checkpoint_callback
        best = 0
        if checkpoint is not None and self.validations.get(getattr(checkpoint, "monitor", None) or ""):
            monitored = self.validations[checkpoint.monitor]  # type: ignore[attr-defined]
            choose = max if checkpoint.mode == "max" else min  # type: ignore[attr-defined]
            best = monitored.index(choose(monitored))
        for name, values in self.validations.items():
            metrics[name] = values[best]
            metrics[f"{name}_last"] = values[-1]
            metrics[f"{name}_mean"] = sum(values) / len(values)
        card = {
            "experiment": self.experiment,
            "seed": self.seed,
            "metrics": metrics,
            "seconds": round(self.seconds, 1),
            "parameters": self.parameters,
            "device": device_name(trainer),
            "precision": str(trainer.precision),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "commit": " then ".join(dict.fromkeys(map(str, self.commits))),
            "command": self.command,
            "config_hash": self.config_hash,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            **self.facts,
        }
        partial = path.with_name("run.json.partial")
        partial.write_text(json.dumps(card, indent=2) + "\n")
        os.replace(partial, path)
        return path

    def _elapsed(self) -> float:
        if self._started is None or self._finished:
            return self.seconds
        return self.seconds + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Give time and validations to a checkpoint."""
        return {"seconds": self._elapsed(), "validations": self.validations, "commits": self.commits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up again in a resumed run."""
        if self._finished:
            return
        self.seconds = state_dict["seconds"]
        self.validations = state_dict["validations"]
        self.commits = [*state_dict["commits"], *self.commits]


def on_cuda(trainer: Trainer) -> bool:
    """Say whether the run uses a CUDA GPU, which is not the same as whether there is one."""
    return trainer.strategy.root_device.type == "cuda"


def peak_memory_mb(trainer: Trainer) -> float:
    """Return the most memory the process has held: on the GPU if the run uses one, else resident memory. In MiB."""
    if on_cuda(trainer):
        return torch.cuda.max_memory_allocated() / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if platform.system() == "Darwin" else 2**10)


def device_name(trainer: Trainer) -> str:
    """Name the hardware: count and model of the GPUs, or the cores in use."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(device)}"
    return f"{trainer.world_size} x {device.type.upper()}, {torch.get_num_threads()} threads"


def commit() -> str | None:
    """Return the commit of the code, with "-dirty" where files differ from it or are new; None outside a repository."""

    def git(*words: str) -> str:
        command = ["git", *words]
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "HEAD").strip() + ("-dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
