"""Checkpoints as files: written whole or not at all, found by folder, read without running what is in them."""

import hashlib
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from lightning_tasks.runs.atomic_writes import write_atomic
from lightning_tasks.runs.cards import finished_runs
from lightning_tasks.runs.folders import BEST, LAST, run_folder, versions
from lightning_tasks.runs.names import DOTTED, texts, would_be_imported
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.ranking import WORST, Ranking
from lightning_tasks.runs.remedies import how_to_make
from lightning_tasks.runs.renames import renamed_checkpoint
from lightning_tasks.runs.weights import read_checkpoint

BUILDER = ("_instantiator", "pytorch_lightning.cli.instantiate_module")  # as Lightning writes it into each checkpoint
NAMES = (
    "data_spec.dataset",
    "data_spec.classes",
    "data_spec.words",
    "data_spec.class_levels.superclass",
    "data_spec.class_levels.group",
)
# Where a class or function is from that may be called as a checkpoint says: it computes.
HARMLESS = (
    "lightning_tasks.",
    "torch.nn.modules.",
    "torch.optim.",
    "torchvision.models.",
    "pytorch_lightning.cli.ReduceLROnPlateau",
)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its final place and renames it, so that a kill leaves the former one whole.

    Lightning's own writer moves a file over from the system's temporary folder, which is a plain copy where that is
    another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write plain data to `path`, replacing a file that is there in one step.

        Raises:
            OSError: If it cannot be written; the former file stays.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomic(Path(path), content.getbuffer())

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint, which may have names of an older version."""
        return renamed_checkpoint(super().load_checkpoint(path, *args, **options))


class RunCheckpoint(ModelCheckpoint):
    """A checkpoint of a fixed name in the run's folder, wherever that has been moved to.

    Being of a class of its own, it does not collide with a ModelCheckpoint that a config adds.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(filename=path.stem, enable_version_counter=False, auto_insert_metric_name=False, **options)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write to the run's folder, also where a logger would have it elsewhere."""
        self.dirpath = str(run_folder(trainer) / BEST.parent)
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score if its file lies here; a run that goes on in a new folder has a best of its own."""
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def moved(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        if (best := moved(state_dict["best_model_path"])) and Path(best).is_file():
            paths = {name: moved(state_dict[name]) for name in ("kth_best_model_path", "last_model_path")}
            scores = {moved(path): score for path, score in state_dict["best_k_models"].items()}
            here = {"dirpath": self.dirpath, "best_model_path": best, "best_k_models": scores}
            super().load_state_dict(state_dict | here | paths)


class BestCheckpoint(RunCheckpoint):
    """Keeps `best.ckpt`, the weights of the best validation so far: see Ranking for those that are equal.

    Any validation of a student is better than one in its generator's pretraining, when it has learned nothing.

    Args:
        monitor: Metric that chooses.
        mode: Whether the best is its least ("min") or greatest ("max") value.
    """

    def __init__(self, monitor: str, mode: str) -> None:
        super().__init__(BEST, monitor=monitor, mode=mode)
        self.ranking = Ranking(monitor, mode)
        self.rank = WORST

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Say whether this validation is the best so far, on all devices alike, and take note of its rank if it is."""
        if current is None:
            return False
        pretraining = getattr(trainer.lightning_module, "pretrains_generator", False)
        rank = WORST if pretraining else self.ranking.rank(trainer.callback_metrics)
        better = trainer.strategy.reduce_boolean_decision(not self.best_k_models or rank >= self.rank)
        if better:
            self.rank = rank
        return better

    def state_dict(self) -> dict[str, Any]:
        """Give what Lightning's keeps, and the rank."""
        return super().state_dict() | {"rank": self.rank}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rank up again with the best score; checkpoints of former versions knew of no loss."""
        super().load_state_dict(state_dict)
        if self.best_k_models:
            score = {self.ranking.monitor: state_dict["best_model_score"]}
            self.rank = state_dict.get("rank", self.ranking.rank(score))

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a metric that no validation gives before a long run, of all callbacks and schedules that watch one.

        Raises:
            ValueError: If there is none of that name.
        """
        known = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
        watchers: list[Any] = [*trainer.callbacks, *trainer.lr_scheduler_configs]  # type: ignore[attr-defined]
        for watcher in watchers:
            monitor = getattr(watcher, "monitor", None)
            if not known or monitor is None or monitor in known:
                continue
            if watcher is self or not monitor.startswith("train/"):
                raise ValueError(f"monitor: no metric {monitor!r} in validation; there are {', '.join(known)}")

    @property
    def best_epoch(self) -> int | None:
        """The epoch, from 0, that `best.ckpt` was written in; None without one, as on another machine."""
        if not os.path.isfile(self.best_model_path):
            return None
        return torch.load(self.best_model_path, weights_only=True, map_location="cpu", mmap=True)["epoch"]


class LastCheckpoint(RunCheckpoint):
    """Keeps `last.ckpt`, from which a run goes on.

    Written at the end of the epoch, after the schedules: resuming from here repeats an uninterrupted run.
    """

    def __init__(self) -> None:
        super().__init__(LAST, save_on_train_epoch_end=True)


def find_checkpoint(path: str, option: str) -> Path:
    """Find the checkpoint that an option names.

    Args:
        path: A checkpoint; a run's folder `logs/<experiment>/version_N`, for its best; or an experiment's folder, for
            the best of its newest finished run, a run of a part of the data only if there is no whole one.
        option: The option's name, for the error.

    Raises:
        FileNotFoundError: If there is none.
    """
    place = user_path(path)
    if place.is_file():
        return place
    if (place / BEST).is_file():
        return place / BEST
    if runs := finished_runs(run for run in versions(place) if (run / BEST).is_file()):
        return runs[0] / BEST
    if place.suffix and not place.exists():
        raise FileNotFoundError(f"{option}: there is no file {path}{how_to_make(path)}")
    raise FileNotFoundError(
        f"{option}: no checkpoint at {place}: expected a .ckpt file, a run's folder, or the log folder of an experiment"
        f" that has been run to its end{how_to_make(place)}"
    )


def read_task_checkpoint(path: Path, trusted: Any = None) -> dict[str, Any]:
    """Read the checkpoint that --ckpt_path names, before any of its options is parsed.

    An option that names a class has its module imported, and the class called with what else the checkpoint says. So it
    may name what is known to be HARMLESS, and what the user has named too. A file that an option names is parsed, so it
    may name none but checkpoints and networks.

    Args:
        path: The checkpoint.
        trusted: Options that the user has given, see runs.identity.as_saved.

    Raises:
        ValueError: If it is damaged, not of a task, or names anything else.
    """
    checkpoint = read_checkpoint(path, "ckpt_path")
    if "pytorch-lightning_version" not in checkpoint:
        raise ValueError(f"ckpt_path: {path} holds weights only, not the state of a task")
    named = {value for _, value in texts(trusted)}
    for option, value in texts(checkpoint.get("hyper_parameters", {})):
        if option.endswith(("_ckpt", ".init_args.path")) or option in NAMES or (option, value) == BUILDER:
            continue  # a checkpoint, a NetworkFile and the name of a class are not parsed
        if os.path.isfile(os.path.expanduser(value)):
            raise ValueError(
                f"ckpt_path: {path} names the file {value} ({option}), which is not read from a checkpoint"
            )
        if value not in named and re.fullmatch(DOTTED, value) and not _is_harmless(value):
            raise ValueError(
                f"ckpt_path: {path} names {value} ({option}), which is no part of this project and not known to be"
                " harmless; name it in a config if you trust it"
            )
    return checkpoint


def _is_harmless(name: str) -> bool:
    """Say whether a dotted name may be called as a checkpoint says, or is nothing that can be imported."""
    module, _, attribute = name.rpartition(".")
    if module not in sys.modules:
        return not would_be_imported(name)
    found = getattr(sys.modules[module], attribute, None)
    origin = f"{getattr(found, '__module__', module)}.{getattr(found, '__qualname__', attribute)}"
    return found is None or origin.startswith(HARMLESS)


def file_hash(path: Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
