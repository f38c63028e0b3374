"""The run card: what a run was and what came of it, as data."""

import json
import platform
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import BatchSizeFinder

from lightning_tasks.base import BaseTask
from lightning_tasks.networks import ImageNetwork, count_multiply_adds, count_parameters, eval_mode
from lightning_tasks.runs.atomic_writes import write_atomic
from lightning_tasks.runs.code import CODE
from lightning_tasks.runs.folders import CARD, run_folder
from lightning_tasks.runs.identity import Configuration, config_hash

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]


PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "jsonargparse", "numpy")


class RunCard(Callback):
    """Measures a `fit`, and after the test that follows it writes `run.json` into the log folder.

    Args:
        experiment: Name of the experiment.
        command: Command line that repeats it.
        configuration: What its figures depend on, see runs.identity.
        monitor: Metric that chose the tested checkpoint.
        plot_id: Mark that plots carry.
    """

    def __init__(
        self,
        experiment: str,
        command: str,
        configuration: Configuration,
        monitor: str | None,
        plot_id: str | None = None,
    ) -> None:
        self.experiment = experiment
        self.command = command
        self.configuration = configuration
        self.monitor = monitor
        self.plot_id = plot_id
        self.seconds = 0.0  # of fit, with the part before a resume
        self.validations: list[dict[str, Any]] = []
        self.run_facts: dict[str, Any] = {}  # of the run and of the task, at its end
        self.commits = [commit()]  # now, since the code in memory is not what is on disk later; one more a resume
        self._started: float | None = None
        self._finished = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count parameters as the config made the networks, before the task may transform one."""
        if stage == "fit":
            networks = cast(BaseTask, pl_module).networks
            self.parameters = {name: count_parameters(network) for name, network in networks.items()}
            with eval_mode(pl_module):
                self.multiply_adds = {
                    name: count_multiply_adds(network, _blank(network))[0]
                    for name, network in networks.items()
                    if isinstance(network, ImageNetwork)
                }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and count what will be trained."""
        self._started = time.perf_counter()
        self.trained = count_parameters(pl_module, trained_only=True)
        if on_cuda(trainer):
            torch.cuda.reset_peak_memory_stats()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was measured, for the best, the last and the mean."""
        if trainer.sanity_checking:
            return
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        self.validations.append(
            {
                "epoch": trainer.current_epoch,
                "step": trainer.global_step,
                "seconds": round(self._elapsed(), 1),
                "metrics": metrics,
            }
        )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, and close the record: the test that follows restores an earlier checkpoint."""
        self.seconds = self._elapsed()
        self._finished = True
        self.run_facts = {
            "epochs": trainer.current_epoch,
            "peak_memory_mb": round(peak_memory_mb(trainer)),
            **found_batch_size(trainer),
            **cast(BaseTask, pl_module).run_facts,
        }

    def write(self, trainer: Trainer, tested: Path | None) -> Path:
        """Write the card of the finished run, whole or not at all; called on all ranks, written by rank zero.

        Args:
            trainer: After `fit` and `test`; its metrics are those of the test.
            tested: Checkpoint that was tested; None for the weights of the last epoch.

        Returns:
            The path of the card.
        """
        path = run_folder(trainer) / CARD
        if not trainer.is_global_zero:
            return path
        task = cast(BaseTask, trainer.lightning_module)
        chosen = self._chosen(tested)
        card = {
            "experiment": self.experiment,
            "seed": task.seed,
            "metrics": self._metrics(trainer, chosen),
            "headline": list(task.headline),
            "monitor": self.monitor,
            "seconds": round(self.seconds, 1),
            "parameters": self.parameters,
            "parameters_trained": self.trained,
            "multiply_adds": self.multiply_adds,
            "device": device_name(trainer),
            "precision": str(trainer.precision),
            **(kernels() if on_cuda(trainer) else {}),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "commit": " then ".join(dict.fromkeys(map(str, self.commits))),
            "command": self.command,
            **({"best_epoch": chosen["epoch"] + 1} if chosen else {}),
            **({"tied": self._count_ties(chosen)} if chosen else {}),
            **({"over_time": self._over_time(task.headline)} if chosen else {}),
            "config_hash": config_hash(self.configuration),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            **self.run_facts,
            **({"partial": limits} if (limits := limits_of(trainer)) else {}),
            "configuration": self.configuration,
        }
        write_atomic(path, json.dumps(card, indent=2) + "\n")
        return path

    def _chosen(self, tested: Path | None) -> dict[str, Any] | None:
        """Find the validation of the weights that were tested; None in a run without any."""
        if tested is None:
            return self.validations[-1] if self.validations else None
        checkpoint = torch.load(tested, weights_only=True, map_location="cpu", mmap=True)
        # A checkpoint is written right after its own validation, the last that it knows of.
        return checkpoint["callbacks"][self.state_key]["validations"][-1]

    def _metrics(self, trainer: Trainer, chosen: dict[str, Any] | None) -> dict[str, float]:
        """Give the test metrics, and those of validation: of the tested weights, of the last epoch, and the mean."""
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        if chosen is None:
            return metrics
        for name in self.validations[-1]["metrics"]:
            values = [each["metrics"][name] for each in self.validations]
            metrics[name] = chosen["metrics"][name]
            metrics[f"{name}_last"] = values[-1]
            metrics[f"{name}_mean"] = sum(values) / len(values)
        return metrics

    def _count_ties(self, chosen: dict[str, Any]) -> int:
        """Count the validations that were as good as the chosen one, itself among them, by the metric that chooses."""
        values = [each["metrics"].get(self.monitor) for each in self.validations]
        return values.count(chosen["metrics"].get(self.monitor))

    def _over_time(self, headline: Sequence[str]) -> dict[str, list[float]]:
        """Give the seconds of fit at each validation, and the headline's metrics as they were then."""
        names = [name.replace("test/", "val/", 1) for name in headline]
        return {
            "seconds": [each["seconds"] for each in self.validations],
            **{
                name: [round(each["metrics"][name], 4) for each in self.validations]
                for name in names
                if name in self.validations[-1]["metrics"]
            },
        }

    def _elapsed(self) -> float:
        if self._started is None or self._finished:
            return self.seconds
        return self.seconds + time.perf_counter() - self._started

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say in a checkpoint what it is of, for those who use it as a teacher."""
        validation = self.validations[-1]["metrics"] if self.validations else {}
        checkpoint["run"] = {"experiment": self.experiment, "validation": dict(validation)}

    def state_dict(self) -> dict[str, Any]:
        """Give time and validations to a checkpoint."""
        return {"seconds": self._elapsed(), "validations": list(self.validations), "commits": self.commits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up again in a resumed run."""
        if self._finished:
            return
        self.seconds = state_dict["seconds"]
        self.validations = list(state_dict["validations"])
        self.commits = [*state_dict["commits"], *self.commits]


def _blank(network: ImageNetwork) -> torch.Tensor:
    """Make a batch of one image where the weights are: in `setup` they are not yet on the task's device."""
    return torch.zeros(1, *network.image_shape, device=next((each.device for each in network.parameters()), None))


def limits_of(trainer: Trainer) -> dict[str, float]:
    """Name the limits that made a run use a part of the data only; none for a whole run. One batch is not all of it."""
    limits = {name: getattr(trainer, f"limit_{name}_batches") for name in ("train", "val", "test")}
    return {name: limit for name, limit in limits.items() if not (isinstance(limit, float) and limit == 1.0)}


def found_batch_size(trainer: Trainer) -> dict[str, int]:
    """Give the batch size that BatchSizeFinder has put in the place of the configuration's."""
    finders = [each for each in trainer.callbacks if isinstance(each, BatchSizeFinder)]  # type: ignore[attr-defined]
    return {"batch_size": each.optimal_batch_size for each in finders if each.optimal_batch_size is not None}


def on_cuda(trainer: Trainer) -> bool:
    """Say whether the run uses a CUDA GPU, which is not the same as whether there is one."""
    return trainer.strategy.root_device.type == "cuda"


def kernels() -> dict[str, bool]:
    """Say which of the fast kernels of a GPU are used, see cli.precision.fast_kernels."""
    return {
        "tf32": torch.get_float32_matmul_precision() != "highest",
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }


def peak_memory_mb(trainer: Trainer) -> float:
    """Return the most memory the process has held: on the GPU if the run uses one, else resident memory. In MiB."""
    if on_cuda(trainer):
        return torch.cuda.max_memory_allocated() / 2**20
    if resource is None:
        memory = psutil.Process().memory_info()
        return getattr(memory, "peak_wset", memory.rss) / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if platform.system() == "Darwin" else 2**10)


def device_name(trainer: Trainer) -> str:
    """Name the hardware: count and model of the GPUs, or the cores in use."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(device)}"
    return f"{trainer.world_size} x {device.type.upper()}, {torch.get_num_threads()} threads"


def commit(folder: Path = Path(__file__).parents[2]) -> str | None:
    """Return the commit of the code, with the files of it that differ or are new; None if it is no repository.

    Args:
        folder: Root of the code. A repository around it, as one that has the environment with the installed package,
            says nothing of the code.
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout

    try:
        if not folder.samefile(git("rev-parse", "--show-toplevel").strip()):
            return None
        head = git("rev-parse", "HEAD").strip()
        changed = [line[3:] for line in git("status", "--porcelain", "--", *CODE).splitlines()]
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head} with changes in {', '.join(changed)}" if changed else head
