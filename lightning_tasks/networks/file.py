"""Whole networks in one file, weights and all."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Self
from unittest import mock

import torch
from torch import Tensor, fx, nn
from torch.export.passes import move_to_device_pass

from lightning_tasks.networks.base import ImageShape
from lightning_tasks.networks.eval_mode import eval_mode
from lightning_tasks.networks.external import ExternalNetwork
from lightning_tasks.networks.safe_loading import require_harmless
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.weights import objects_in


class NetworkFile(ExternalNetwork):
    """A network from a file that says how to compute it: TorchScript, torch.export (.pt2) or ONNX.

    It comes with its weights, so `teacher_ckpt` is null for it. Gradients pass through all three. A graph of
    torch.export computes as it did when it was written, in evaluation mode as a rule; ONNX, which needs the package
    onnx2torch, becomes a module again, in which Dropout and BatchNorm have their modes. What a graph of torch.export
    makes on the way follows it to another device, and so do the constants of a frozen TorchScript; what cannot compute
    where or in the precision it is moved to is refused. A file that would do more than compute is refused before it is
    read.

    Args:
        num_classes: See ImageNetwork.
        image_shape: See ImageNetwork.
        path: The file. Images and logits must have a batch dimension of any size.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read, or is no network for these images.
    """

    _place: Tensor

    def __init__(self, num_classes: int, image_shape: ImageShape, path: str) -> None:
        self.path = str(user_path(path))
        self._keeps_its_mode = path.endswith(".pt2")
        super().__init__(_load(Path(self.path)), num_classes, image_shape)
        self.register_buffer("_place", torch.zeros(()), persistent=False)  # a file need not have weights that tell it

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the network, as `to` and `cuda` do.

        Raises:
            ValueError: If it cannot compute there.
        """
        before = self._place
        super()._apply(fn, recurse)
        device, dtype = self._place.device, self._place.dtype
        if (device, dtype) == (before.device, before.dtype):
            return self
        if self._keeps_its_mode:
            _make_tensors_on(device, self.module)
        elif isinstance(self.module, torch.jit.ScriptModule) and not any(True for _ in self.parameters()):  # frozen
            self.module = _load(Path(self.path), device)
        try:
            with eval_mode(self):
                self(torch.zeros(2, *self.image_shape, device=device, dtype=dtype))
        except Exception as error:  # whatever a graph raises
            reason = " ".join(str(error).split())[-200:]
            raise ValueError(
                f"path: {self.path} cannot compute on {device.type} in {dtype}; give the trainer another accelerator or"
                f" precision, or write the file for these ({reason})"
            ) from error
        return self

    def train(self, mode: bool = True) -> Self:
        """Change the mode, where the network has one."""
        if not self._keeps_its_mode:
            return super().train(mode)
        self.training = mode
        return self


def _load(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    if not path.is_file():
        raise FileNotFoundError(f"path: no file {path} with a network")
    try:
        if path.suffix == ".onnx":
            return _from_onnx(path)
        require_harmless(path)
        if path.suffix == ".pt2":
            with mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):  # it asks for more than weights
                graph = move_to_device_pass(torch.export.load(path), "cpu").module()
            _register_constants(graph)
            return graph
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, and people have such files
            return torch.jit.load(path, map_location=device)
    except Exception as error:  # zip, protobuf and runtime errors all mean that the file is not what it should be
        if objects := objects_in(path):
            raise ValueError(
                f"path: {path} is a pickle of {', '.join(objects[:3])} without code; name the class as the network,"
                " and as its weights what torch.save(network.state_dict(), path) writes"
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"path: {path} is no network of TorchScript, torch.export or ONNX: {reason}") from error


def _register_constants(graph: nn.Module) -> None:
    """Make buffers of the tensors that a graph holds as they are, so that they move with it."""
    for module in graph.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                delattr(module, name)
                module.register_buffer(name, value, persistent=False)


def _make_tensors_on(device: torch.device, graph: nn.Module) -> None:
    """Let the operators of a graph make tensors on another device than that on which it was written."""
    for module in graph.modules():
        if isinstance(module, fx.GraphModule):
            for node in module.graph.nodes:
                if "device" in node.kwargs:
                    node.update_kwarg("device", device)
                elif node.target is torch.ops.aten.to.device:
                    node.update_arg(1, device)
            module.recompile()


def _from_onnx(path: Path) -> nn.Module:
    try:
        from onnx2torch import convert
    except ImportError as error:
        raise ValueError("ONNX files need onnx2torch: pip install 'lightning-tasks[external]'") from error
    return convert(path)
