"""Weights of a network from any file that holds them as plain tensors: whose they are is found by their names."""

import contextlib
import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from lightning_tasks.runs.renames import renamed_checkpoint

HOLDERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")  # of weights, in files of others
OURS = ("network.", "student.")  # where a checkpoint of this project has the network that its task is about
NOT_NEEDED = ".num_batches_tracked"  # counts of BatchNorm layers, which no answer depends on


def read_checkpoint(path: Path, option: str) -> dict[str, Any]:
    """Read weights as plain data; code in the file is not run.

    Args:
        path: A checkpoint of a task, a bare state dict, or one beside other things, by torch.save; or .safetensors.
        option: The option that names it, for the error.

    Returns:
        What the file holds, with the weights under "state_dict".

    Raises:
        ValueError: If it is damaged, holds anything but plain data, or no weights; says what it seems to be.
    """
    if path.suffix == ".safetensors":
        try:
            return {"state_dict": load_file(path)}
        except Exception as error:  # a Rust error of its own kind
            raise ValueError(f"{option}: {path} is damaged, or no safetensors file: {error}") from error
    _require_whole(path, option)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle, EOF and runtime errors all mean that the file is not what it should be
        raise ValueError(f"{option}: {path} {_instead(path, error)}") from error
    if isinstance(content, Mapping):
        if _are_weights(content):
            return {"state_dict": dict(content)}
        if "param_groups" in content and "state" in content:
            raise ValueError(f"{option}: {path} holds the state of an optimizer, not the weights of a network")
        for name in HOLDERS:
            if _are_weights(content.get(name)):
                return renamed_checkpoint({**content, "state_dict": dict(content[name])})
    kind = f"the keys {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else type(content)
    raise ValueError(
        f"{option}: {path} is no checkpoint: it has no weights by name, bare or under one of {', '.join(HOLDERS)}; it"
        f" has {kind if isinstance(kind, str) else f'a {kind.__name__}'}"
    )


def _require_whole(path: Path, option: str) -> None:
    """Compare the bytes of what torch.save has written with their checksums, which torch.load does not."""
    damaged = None
    try:
        if zipfile.is_zipfile(path):  # else an older format, or no checkpoint at all: torch.load says
            with zipfile.ZipFile(path) as file:
                damaged = file.testzip()
    except Exception as error:  # bad zip, text, compression and runtime errors all mean the same
        raise ValueError(f"{option}: {path} is damaged: {error}") from error
    if damaged is not None:
        raise ValueError(f"{option}: {path} is damaged: the bytes of {damaged} are not those that were written")


def _are_weights(content: Any) -> bool:
    return (
        isinstance(content, Mapping) and len(content) > 0 and all(isinstance(each, Tensor) for each in content.values())
    )


def _instead(path: Path, error: Exception) -> str:
    """Say what a file that cannot be read as weights seems to be."""
    start = path.read_bytes()[:200].lstrip().lower()
    if not start:
        return "is empty"
    if start.startswith((b"<!doctype", b"<html")):
        return "is a web page, not weights: save the file that the page links to"
    if "torchscript" in str(error).lower():
        return "is a TorchScript file, which holds the whole network: give it as the network, NetworkFile"
    if others := objects_in(path, str(error)):
        return (
            f"holds more than plain data: objects of {', '.join(others[:3])}; where it was made,"
            " torch.save(network.state_dict(), path) writes the weights alone"
        )
    said = str(error).strip().splitlines()
    return f"is damaged, or holds more than plain data: {said[0] if said else type(error).__name__}"


def objects_in(path: Path, said: str = "") -> list[str]:
    """Name the classes and functions in a file of torch.save that plain data do not need; nothing is imported.

    Args:
        path: The file.
        said: Error of torch.load, which names the first one; all that is known if the file is no zip archive.
    """
    with contextlib.suppress(Exception):  # a damaged file raises whatever it likes
        return sorted(get_unsafe_globals_in_checkpoint(path))
    return re.findall(r"GLOBAL ([\w.]+)", said)[:1]


def fitting(weights: Mapping[str, Tensor], network: nn.Module, where: str) -> dict[str, Tensor]:
    """Choose the weights that are a network's, by its own names.

    Wrappers put a prefix before all names (`module.`, `model.`, `_orig_mod.`), and a checkpoint holds other networks
    too: that prefix counts under which most of the network's names are found; those of this project first, then the
    shortest.

    Args:
        weights: By name.
        network: Network whose parameter names they must have.
        where: They come from, for the error: "teacher_ckpt: the weights in a.pth".

    Returns:
        What stands under that prefix, named as the network does, and maybe more.

    Raises:
        ValueError: If two prefixes are as good.
    """
    own = list(network.state_dict())
    found = {key[: -len(name)] for name in own for key in weights if key.endswith(name)}
    prefixes = {prefix for prefix in found if not prefix or prefix.endswith(".")}

    def order(prefix: str) -> tuple[int, bool, int]:
        return -sum(prefix + name in weights for name in own), not prefix.startswith(OURS), len(prefix)

    best = min(prefixes, key=order, default="")
    if len(alike := sorted(prefix for prefix in prefixes if order(prefix) == order(best))) > 1:
        raise ValueError(f"{where} are those of several networks that fit: {', '.join(alike)}; keep one of them")
    return {key.removeprefix(best): value for key, value in weights.items() if key.startswith(best)}


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], where: str, new: Collection[str] = ()) -> None:
    """Load weights into a network.

    Args:
        network: Network whose parameter names they must have.
        weights: See `fitting`; of any floating-point precision.
        where: See `fitting`.
        new: Names of the network's weights that stay as they are.

    Raises:
        ValueError: If names or shapes differ, or a number is not finite; counts all and names the first three.
    """
    own = network.state_dict()
    found = {
        "missing": [name for name in own if name not in weights and name not in new and not name.endswith(NOT_NEEDED)],
        "not in the network": [name for name in weights if name not in own],
        "of another shape": [
            f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
            for name, value in weights.items()
            if name in own and name not in new and value.shape != own[name].shape
        ],
    }
    if any(found.values()):
        said = [f"{len(those)} {what} ({', '.join(those[:3])})" for what, those in found.items() if those]
        raise ValueError(f"{where} do not fit {type(network).__name__}: {'; '.join(said)}")
    if bad := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise ValueError(f"{where} are not finite numbers in {len(bad)} places ({', '.join(bad[:3])})")
    network.load_state_dict({name: value for name, value in weights.items() if name not in new}, strict=False)
