"""Whole networks in one file, weights and all."""

import os
import warnings
from pathlib import Path
from typing import Self
from unittest import mock

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from lightning_tasks.networks.base import ImageShape
from lightning_tasks.networks.harmless import require_harmless
from lightning_tasks.networks.own import OwnNetwork


class NetworkFile(OwnNetwork):
    """A network from a file that says how to compute it: TorchScript, torch.export (.pt2) or ONNX.

    It comes with its weights, so `teacher_ckpt` is null for it. Gradients pass through all three. A graph of
    torch.export computes as it did when it was written, in evaluation mode as a rule; ONNX, which needs the package
    onnx2torch, becomes a module again, in which Dropout and BatchNorm have their modes. A graph of torch.export that
    makes tensors on the way does so on the CPU. A file that would do more than compute is refused before it is read.

    Args:
        num_classes: See ImageNetwork.
        image_shape: See ImageNetwork.
        path: The file. Images and logits must have a batch dimension of any size.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read, or is no network for these images.
    """

    def __init__(self, num_classes: int, image_shape: ImageShape, path: str) -> None:
        self.path = path
        self._keeps_its_mode = path.endswith(".pt2")
        super().__init__(_load(Path(path)), num_classes, image_shape)

    def train(self, mode: bool = True) -> Self:
        """Change the mode, where the network has one."""
        if not self._keeps_its_mode:
            return super().train(mode)
        self.training = mode
        return self


def _load(path: Path) -> nn.Module:
    if not path.is_file():
        raise FileNotFoundError(f"path: no file {path} with a network")
    try:
        if path.suffix == ".onnx":
            return _from_onnx(path)
        require_harmless(path)
        if path.suffix == ".pt2":
            with mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):  # it asks for more than weights
                return move_to_device_pass(torch.export.load(path), "cpu").module()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, and people have such files
            return torch.jit.load(path, map_location="cpu")
    except Exception as error:  # zip, protobuf and runtime errors all mean that the file is not what it should be
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"path: {path} is no network of TorchScript, torch.export or ONNX: {reason}") from error


def _from_onnx(path: Path) -> nn.Module:
    try:
        from onnx2torch import convert
    except ImportError as error:
        raise ValueError("an ONNX file needs the package onnx2torch: pip install 'lightning-tasks[own]'") from error
    return convert(path)
