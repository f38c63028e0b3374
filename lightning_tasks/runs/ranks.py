"""Several processes that do one run: each reads its own disk and command line, and they must have read the same."""

import hashlib
import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import Namespace
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from lightning_tasks.runs.checkpoints import file_hash, find_checkpoint
from lightning_tasks.runs.code import ROOT, code_hash
from lightning_tasks.runs.errors import no_answer
from lightning_tasks.runs.folders import BEST, LAST
from lightning_tasks.runs.identity import flat, options_by_name
from lightning_tasks.runs.names import INSTALLED
from lightning_tasks.runs.signals import KILL, leave_to_training

PACKAGES = ("torch", "torchvision", "torchmetrics", "pytorch-lightning", "numpy")
# Options of a process alone: where its files lie, and what only the first does. Checkpoints are compared as files.
OWN = (
    "config.",
    "ckpt_path.",
    "trainer.default_root_dir.",
    "trainer.logger.",
    "data.root.",
    "data.folder.",
    "data.num_workers.",
)
LINKED = "model.data_spec."  # to the data, which are compared themselves
SAMPLES = 64  # of each part of the data
TOLERANCE = 1e-3  # of their means, since processors round differently
SHOWN = 3  # differences of a kind, processes of a difference, and samples
PATIENCE = 2.0  # seconds
# As PyTorch has it for NCCL; Lightning sets half an hour. What the first process does alone in a run, as plots and
# checkpoints, must take less. Downloads and decoding come before, and may take as long as they do.
LIMIT = timedelta(minutes=10)

# What to do about each kind of difference, causes before effects.
ADVICE = {
    "code": "install the same on each machine",
    "option": "give all processes the same command and the same configs",
    "checkpoint": "share the folder of the runs between the machines, or copy the run's folder to each",
    "file": "copy the file to each machine",
    "data": "copy the data to each machine",
}


@dataclass(eq=False)
class Means:
    """Means of samples, equal if they nearly are."""

    values: list[float]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Means) or len(self.values) != len(other.values):
            return False
        return all(math.isclose(*pair, rel_tol=TOLERANCE) for pair in zip(self.values, other.values, strict=True))

    def __str__(self) -> str:
        return f"{', '.join(f'{each:.4g}' for each in self.values[:SHOWN])}, ..."


class Rank(NamedTuple):
    """What a process has found: by kind and name."""

    number: int
    host: str
    found: dict[str, dict[str, Any]]

    def __str__(self) -> str:
        return f"rank {self.number} ({self.host})"


def limit_waits(strategy: Any) -> None:
    """Let a strategy give up waiting for another process after LIMIT.

    Args:
        strategy: A strategy that no config has built; one that does has a `timeout` of its own.
    """
    if hasattr(strategy, "_timeout"):  # Lightning takes it where a strategy is built, and at no other place
        strategy._timeout = LIMIT


class OneRun(Callback):
    """Ends all processes of a run together, before its first step, if they are about to do different ones.

    Does nothing where there is one process. It must be the first callback: those after it wait for each other.

    Args:
        config: Parsed config of the subcommand.
        checkpoint: From which it starts; None without one.
        refusal: Error of this process, to be told to the others before it ends; None without one.
    """

    def __init__(
        self, config: Namespace, checkpoint: Path | None, refusal: ValueError | SystemExit | None = None
    ) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.refusal = refusal
        self._compared = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare what the processes have found.

        Raises:
            ValueError: If they differ, on the first process of each machine; the others end without a word.
        """
        if trainer.world_size == 1 or self._compared:
            return
        self._compared = True
        ours = Rank(trainer.global_rank, socket.gethostname(), self.find(trainer.datamodule))  # type: ignore[attr-defined]
        ranks: list[Any] = [None] * trainer.world_size
        distributed.all_gather_object(ranks, ours)
        if said := differences(ranks):
            if trainer.local_rank:
                time.sleep(PATIENCE)  # Lightning's launcher kills the first one when this one ends, and it is to speak
                sys.exit(1)
            raise ValueError(said)
        if self.refusal is not None:
            raise self.refusal

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the signals to Lightning, which takes them over after this hook."""
        leave_to_training()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the processes that Lightning's launcher has started here if one stands still, since it cannot itself."""
        if no_answer(exception) and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(KILL)

    def find(self, data: Any) -> dict[str, dict[str, Any]]:
        """Find what this process is about to do: by kind, a key of ADVICE, and name.

        Args:
            data: The datamodule, set up.
        """
        options = options_by_name(json.loads(json.dumps(self.config.as_dict(), default=str)), left_out=())
        options = {name: value for name, value in options.items() if not f"{name}.".startswith((*OWN, LINKED))}
        files = {name: found for name, value in options.items() if (found := content_hash(name, value)) is not None}
        options = {name: value for name, value in options.items() if name not in files}
        options["PL_GLOBAL_SEED"] = os.environ.get("PL_GLOBAL_SEED")
        software = {name: version(name) for name in PACKAGES} | {"this project": _short(code_hash())}
        return {
            "checkpoint": dict(_of_checkpoint(self.checkpoint, self.refusal)),
            "file": files,
            "option": options,
            "data": dict(_of_data(data)),
            "code": software | dict(_of_code(options)),
        }


def differences(ranks: list[Rank]) -> str | None:
    """Say in a line what differs between rank 0 and the others, of the first kind that does; None if nothing does."""
    first = ranks[0]
    files = {name for rank in ranks for name in rank.found["file"]}  # on one machine it may be missing
    for kind, advice in ADVICE.items():
        found = []
        for name in dict.fromkeys(name for rank in ranks for name in rank.found[kind]):
            if kind == "option" and name in files:
                continue
            value = first.found[kind].get(name)
            if others := [rank for rank in ranks if rank.found[kind].get(name) != value]:
                values = [f"{_said(rank.found[kind].get(name))} on {rank}" for rank in [first, *others]]
                found.append(f"{name} is {_some(values, ', ')}")
        if found:
            return f"the processes of this run differ: {_some(found, '; ')}: {advice}"
    return None


def _some(texts: list[str], comma: str) -> str:
    return comma.join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _said(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def _short(digest: str) -> str:
    return f"SHA-256 {digest[:12]}"


def _of_checkpoint(path: Path | None, refusal: ValueError | SystemExit | None) -> Iterator[tuple[str, str]]:
    """Go through the checkpoint that is started from, and the best one beside it."""
    if refusal is not None:
        yield "the checkpoint", "of other options" if isinstance(refusal, ValueError) else "of a finished run"
    elif path is not None:
        yield "the checkpoint", _short(file_hash(path))
        best = path.parent / BEST.name
        if path.name == LAST.name and best.is_file():
            yield "the best checkpoint beside it", _short(file_hash(best))


def content_hash(option: str, value: Any) -> str | None:
    """Hash the file or the run that an option of the task or the data names; None if it names none.

    Args:
        option: Its name, as "model.teacher_ckpt".
        value: Its value; of a run or an experiment the checkpoint that `find_checkpoint` chooses is hashed.
    """
    if (
        not option.startswith(("model", "data"))
        or not isinstance(value, str)
        or not os.path.exists(os.path.expanduser(value))
    ):
        return None
    try:
        return _short(file_hash(find_checkpoint(value, option)))
    except OSError:  # a folder of other things
        return None


def _of_code(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Go through the user's own files whose classes and functions the options name."""
    for value in options.values():
        module = sys.modules.get(value.rpartition(".")[0]) if isinstance(value, str) else None
        file = getattr(module, "__file__", None)
        if file is not None and not file.startswith(INSTALLED) and ROOT not in Path(file).parents:
            yield Path(file).name, _short(file_hash(Path(file)))


def _of_data(data: Any) -> Iterator[tuple[str, Any]]:
    """Go through the specification of the data, and a digest of each part: labels, and the means of some samples."""
    yield from flat({"data": json.loads(json.dumps(getattr(data, "data_spec", {}), default=str))})
    for part in ("train_set", "val_set", "test_set"):
        samples = getattr(data, part, None)
        labels = getattr(samples, "labels", None)
        if isinstance(labels, Tensor) and len(labels):
            yield f"labels of data.{part}", _short(hashlib.sha256(labels.numpy().tobytes()).hexdigest())
            if hasattr(samples, "__getitems__"):
                yield f"mean of samples of data.{part}", _means(samples)


def _means(samples: Any) -> Means:
    chosen = torch.linspace(0, len(samples) - 1, SAMPLES).long().unique().tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of what is changed at random while it is fetched
        x = samples.__getitems__(chosen)[0]
    return Means(x.flatten(1).double().abs().mean(1).tolist())
