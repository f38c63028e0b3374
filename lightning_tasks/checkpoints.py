"""Checkpoints as files: written whole or not at all, found by folder, read without running what is in them."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its final place and renames it, so that a kill leaves the former one whole.

    Lightning's own writer moves a file over from the system's temporary folder, which is a plain copy where that is
    another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write plain data to `path`, replacing a file that is there in one step."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        with open(partial, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


def newest_version(experiment: Path, accept: Callable[[Path], bool]) -> Path | None:
    """Find the run with the highest number among `version_N` folders that `accept` says yes to."""
    versions = (path for path in experiment.glob("version_*") if re.fullmatch(r"version_\d+", path.name))
    accepted = filter(accept, versions)
    return max(accepted, key=lambda path: int(path.name.removeprefix("version_")), default=None)


def claim_version(experiment: Path) -> int:
    """Make the next free `version_N` folder of an experiment and return N; two processes never get the same.

    On ranks other than zero nothing is made: they use rank zero's folder, whose name Lightning broadcasts.
    """
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return 0
    newest = newest_version(experiment, Path.is_dir)
    version = 0 if newest is None else int(newest.name.removeprefix("version_")) + 1
    while True:
        try:
            (experiment / f"version_{version}").mkdir(parents=True)
            return version
        except FileExistsError:
            version += 1


def find_checkpoint(path: str, option: str) -> Path:
    """Find the checkpoint that an option names: a file, or an experiment's folder for the best of its newest run.

    Args:
        path: File, or folder `logs/<experiment>`, of which the newest finished run counts.
        option: The option's name, for the error.

    Raises:
        FileNotFoundError: If there is neither.
    """
    if Path(path).is_file():
        return Path(path)
    best = Path("checkpoints", "best.ckpt")
    run = newest_version(Path(path), lambda version: (version / best).is_file() and (version / "run.json").is_file())
    if run is None:
        raise FileNotFoundError(
            f"{option}: no checkpoint at {path}: expected a .ckpt file, or the log folder of an experiment that has"
            " been run to its end"
        )
    return run / best


def read_checkpoint(path: Path, option: str) -> dict[str, Any]:
    """Read a checkpoint as plain data; code in the file is not run.

    Raises:
        ValueError: If the file is damaged, holds anything but plain data, or is no Lightning checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle, EOF and runtime errors all mean that the file is not what it should be
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{option}: {path} is damaged, or holds more than plain data: {reason}") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{option}: {path} is no checkpoint of this project: it has no state_dict")
    return checkpoint


def network_weights(checkpoint: dict[str, Any], name: str = "network") -> dict[str, Tensor]:
    """Pick the weights of one network out of a task's checkpoint."""
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
    }


def load_network(network: nn.Module, source: str, option: str, facts: dict[str, Any]) -> Path:
    """Load a trained network from a ClassificationTask's checkpoint, if it was trained on the same kind of data.

    Args:
        network: Gets the weights.
        source: What the option names, see find_checkpoint.
        option: The option's name, for the errors.
        facts: Hyperparameters of the data that must be the checkpoint's, where it holds them.

    Returns:
        The checkpoint's path.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it cannot be read, is of other data, or does not fit the network.
    """
    path = find_checkpoint(source, option)
    checkpoint = read_checkpoint(path, option)
    for name, ours in facts.items():
        theirs = checkpoint.get("hyper_parameters", {}).get(name)
        if theirs is not None and _as_list(theirs) != _as_list(ours):
            raise ValueError(f"{option}: {path} was trained with {name} {theirs}, this run has {ours}")
    try:
        network.load_state_dict(network_weights(checkpoint))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{option}: the weights in {path} do not fit the network: {reason}") from error
    return path


def _as_list(value: Any) -> Any:
    """A tuple that was read back from a config is a list."""
    return list(value) if isinstance(value, tuple) else value


def file_hash(path: Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
