"""A frozen, trained network."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import torch
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from lightning_tasks.networks import ImageNetwork, NetworkFile, fold_batchnorm
from lightning_tasks.networks.channel_statistics import Statistics, channel_statistics
from lightning_tasks.runs.checkpoints import file_hash, find_checkpoint
from lightning_tasks.runs.data_spec import in_order_of, require_equal
from lightning_tasks.runs.weights import fitting, load_weights, read_checkpoint

AVERAGED = "ema.module."  # before the names of averaged weights in a checkpoint


class Observed(NamedTuple):
    """What a teacher says of images, and what it sees in them.

    Attributes:
        logits: Shape (B, num_classes).
        statistics: Batch statistics of the inputs of the BatchNorm layers; None without such layers.
        features: Input of the last linear layer. Shape (B, D); None without such a layer.
    """

    logits: Tensor
    statistics: Statistics | None
    features: Tensor | None


class FrozenTeacher(nn.Module):
    """A network in eval mode whose weights stay as they were loaded; gradients pass through it to its input.

    It goes with the task to its device and precision, and is otherwise no submodule: no checkpoint saves it, DDP does
    not broadcast its buffers, and `sync_batchnorm` leaves its layers as they are.

    Args:
        network: Its architecture.
        trained: Whether it has its weights already, as a module that is given from Python.

    Attributes:
        data_spec: Specification of its training data, see runs.data_spec; None if unknown.
        accuracy: On the validation images of the run that has trained it; None where that is not known.
    """

    data_spec: Mapping[str, Any] | None = None
    accuracy: float | None = None

    def __init__(self, network: ImageNetwork, trained: bool = False) -> None:
        super().__init__()
        self.trained = trained
        self._frozen: list[nn.Module] = [network.requires_grad_(False).eval()]  # in a list, which hides submodules
        self.eval()

    @property
    def network(self) -> ImageNetwork:
        """The network as it was given, with its BatchNorm layers."""
        return cast("ImageNetwork", self._frozen[0])

    @property
    def fast(self) -> nn.Module:
        """What answers: the network, or a copy of it that is faster."""
        return self._frozen[-1]

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Take the network along to another device or precision."""
        for each in self._frozen:
            each._apply(fn, recurse)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.fast(x)

    @property
    def batchnorms(self) -> list[nn.Module]:
        """The BatchNorm layers that have kept statistics of the training images."""
        kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
        return [each for each in self.network.modules() if isinstance(each, kinds) and each.running_mean is not None]

    @property
    def last_linear(self) -> nn.Linear | None:
        """The layer that gives the logits, if it is a linear one."""
        return next((each for each in reversed(list(self.network.modules())) if isinstance(each, nn.Linear)), None)

    def observe(self, x: Tensor) -> Observed:
        """Map images (B, C, H, W) to logits, and look at what BatchNorm layers and the last linear layer are given."""
        seen: list[tuple[Any, Tensor]] = []
        features: list[Tensor] = []
        hooks = [
            layer.register_forward_pre_hook(lambda layer, inputs: seen.append((layer, inputs[0])))
            for layer in self.batchnorms
        ]
        if self.last_linear is not None:
            hooks.append(self.last_linear.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0])))
        try:
            logits = self.network(x)
        finally:
            for hook in hooks:
                hook.remove()
        return Observed(logits, _statistics(seen), features[0] if features else None)

    def load(self, source: str | None, option: str, data_spec: Mapping[str, Any], ema: bool = False) -> dict[str, Any]:
        """Load trained weights, and say which they are.

        Args:
            source: A checkpoint of a classifier or of a student, a run's or an experiment's folder (see
                find_checkpoint), or the weights alone (see runs.weights), whose data nobody can check. None for a
                network that comes with its weights.
            option: The option that names it, for the errors.
            data_spec: Specification of the present data; must equal the checkpoint's but for the order of the classes.
            ema: Whether to take the averaged weights of a checkpoint of this project, see ImageTask.average.

        Returns:
            `teacher_ckpt`, the path, or None; `teacher_sha256`, the hash of the file, or of the weights.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, is of other data, or does not fit the network.
        """
        if source is None:
            return self._own_weights(option)
        path = find_checkpoint(source, option)
        checkpoint = read_checkpoint(path, option)
        if "pytorch-lightning_version" not in checkpoint:  # somebody else's, who may mean other things by these names
            checkpoint = {"state_dict": checkpoint["state_dict"]}
        self.data_spec = checkpoint.get("data_spec")
        require_equal(self.data_spec, in_order_of(self.data_spec, data_spec), f"{option}: {path} was trained")
        if ema:
            checkpoint["state_dict"] = _averaged(checkpoint["state_dict"], f"{option}: {path}")
        inner = self.network.inner
        where = f"{option}: the weights in {path}"
        load_weights(inner, fitting(checkpoint["state_dict"], inner, where), where)
        self._fold()
        self.accuracy = checkpoint.get("run", {}).get("validation", {}).get("val/acc_ema" if ema else "val/acc")
        rank_zero_info(f"{option.removesuffix('_ckpt')}: {path}{_describe(checkpoint)}")
        return {"teacher_ckpt": str(path.resolve()), "teacher_sha256": file_hash(path)}

    def _own_weights(self, option: str) -> dict[str, Any]:
        if self.network.inner is self.network:
            raise ValueError(f"{option}: null leaves {type(self.network).__name__} with random weights; name some")
        self._fold()
        if isinstance(self.network, NetworkFile):
            return {"teacher_ckpt": None, "teacher_sha256": file_hash(Path(self.network.path))}
        if not self.trained:
            made = f"with which {type(self.network.inner).__name__} is made"
            rank_zero_warn(f"{option}: null; the teacher has the weights {made}, which may be random")
        digest = hashlib.sha256()
        for key, value in self.network.state_dict().items():
            digest.update(key.encode() + value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return {"teacher_ckpt": None, "teacher_sha256": digest.hexdigest()}

    def _fold(self) -> None:
        """Make the same function with fewer passes over the activations, where the network can be traced.

        torch.fx cannot follow a network that decides by its input; whatever comes of it is compared with the network.
        """
        try:
            folded = fold_batchnorm(self.network)
            x = torch.randn(2, *self.network.image_shape, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                torch.testing.assert_close(folded(x), self.network(x), rtol=1e-3, atol=1e-3)
            self._frozen = [self.network, folded]
        except Exception as error:  # tracing fails in as many ways as there are networks; folding is speed only
            reason = " ".join(str(error).split())[:100]
            rank_zero_info(f"teacher: used as it is, since its BatchNorm cannot be folded ({reason})")


def _statistics(seen: list[tuple[Any, Tensor]]) -> Statistics | None:
    """Compute the statistics of what BatchNorm layers are given."""
    if not seen:
        return None
    layers, inputs = zip(*seen, strict=True)
    mean, variance = (torch.cat([getattr(each, f"running_{name}") for each in layers]) for name in ("mean", "var"))
    return Statistics(*channel_statistics(*inputs), mean, variance, [len(each.running_mean) for each in layers])


def _averaged(weights: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Choose the averaged weights of a checkpoint.

    Raises:
        ValueError: If it has none.
    """
    found = {key.removeprefix(AVERAGED): value for key, value in weights.items() if key.startswith(AVERAGED)}
    if not found:
        raise ValueError(f"{where} has no averaged weights; train it with ema_decay, or leave teacher_ema out")
    return found


def _describe(checkpoint: dict[str, Any]) -> str:
    """Say of which experiment a checkpoint is, and how good."""
    run = checkpoint.get("run", {})
    words = [run["experiment"]] if "experiment" in run else []
    words += [f"{name} {value:.2%}" for name, value in run.get("validation", {}).items() if name == "val/acc"]
    return f" ({', '.join(words)})" if words else ""
