"""Training the last layers of a network whose weights are there already."""

from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.models import get_weight

from lightning_tasks.networks import ImageNetwork, count_parameters, cut_into_layers
from lightning_tasks.runs.checkpoints import file_hash, find_checkpoint
from lightning_tasks.runs.weights import fitting, load_weights, read_checkpoint


class FrozenStart:
    """The first layers of a network, kept as they are: no gradients for their weights, no new BatchNorm statistics.

    Args:
        network: The network.
        trained_layers: Number of layers at its end that are trained, at least 1.

    Attributes:
        start: The frozen layers; empty if all are trained.
        end: The others, from what the former give to logits.

    Raises:
        ValueError: If the network has fewer layers, or is one as a whole.
    """

    def __init__(self, network: ImageNetwork, trained_layers: int) -> None:
        found = _layers(network, "trained_layers")
        if not 1 <= trained_layers <= len(found):
            raise ValueError(
                f"trained_layers must be 1 to {len(found)}, the layers of this {type(network.inner).__name__}, got"
                f" {trained_layers}"
            )
        self._trained_layers = trained_layers
        self.find(network)
        self.start.requires_grad_(False)
        counts = count_parameters(network, trained_only=True), count_parameters(network)
        rank_zero_info(
            f"fine-tuning: the last {trained_layers} of {len(found)} layers are trained, {counts[0]:,} of {counts[1]:,}"
            " parameters (a layer is a convolution, a block or a linear layer, with the normalisation after it)"
        )

    def find(self, network: ImageNetwork) -> None:
        """Find the layers of the network as they are now: `sync_batchnorm` replaces some when training begins."""
        start = cut_into_layers(network)[: -self._trained_layers]
        self.start = nn.Sequential(*(part for layer in start for part in layer))
        self.end = self.end_of(network)

    def end_of(self, network: ImageNetwork) -> nn.Sequential:
        """Give the layers of a copy of the network that are trained in the network."""
        end = cut_into_layers(network)[-self._trained_layers :]
        return nn.Sequential(*(part for layer in end for part in layer))

    def freeze(self) -> None:
        """Put the frozen layers into eval mode; whoever calls train() on the network undoes it."""
        self.start.eval()


def groups_by_depth(network: ImageNetwork) -> list[dict[str, Any]]:
    """Give the trained parameters as groups for an optimizer, one a layer, the last layer first.

    Raises:
        ValueError: If the network is one layer as a whole.
    """
    layers = reversed(_layers(network, "layer_decay"))
    found = [[each for each in layer.parameters() if each.requires_grad] for layer in layers]
    return [{"params": parameters} for parameters in found if parameters]


def _layers(network: ImageNetwork, option: str) -> list[nn.Sequential]:
    """Cut a network into its layers, for an option that would have no effect on a single one."""
    found = cut_into_layers(network)
    if len(found) == 1:
        raise ValueError(
            f"{option}: {type(network.inner).__name__} counts as one layer, since its parts are not known; those of an"
            f" nn.Sequential, a CNN, an MLP or a ResNet are: give one of these, or leave {option} out"
        )
    return found


def decay_rates(optimizer: Optimizer, scheduler: Any, decay: float) -> None:
    """Multiply the learning rates of the n-th group from the end of the network by decay ** n.

    Discriminative fine-tuning (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.2).

    Args:
        optimizer: Made of `groups_by_depth`.
        scheduler: Built on it, or None.
        decay: Decay of the learning rate per layer, in (0, 1].
    """
    for depth, group in enumerate(optimizer.param_groups):
        for name in {"lr", "initial_lr", "max_lr", "min_lr"} & group.keys():
            group[name] *= decay**depth
    schedules = [] if scheduler is None else [scheduler, *getattr(scheduler, "_schedulers", [])]  # of a SequentialLR
    for each in schedules:
        for name in {"base_lrs", "max_lrs"} & vars(each).keys():
            setattr(each, name, [rate * decay**depth for depth, rate in enumerate(getattr(each, name))])


def load_pretrained(network: ImageNetwork, source: str) -> str:
    """Load weights into a network; a last layer for other classes keeps its fresh ones, which is said.

    Args:
        network: Network whose parameter names the weights must have.
        source: A checkpoint, a run's or an experiment's folder (see find_checkpoint), the weights alone (see
            runs.weights), or the name of torchvision weights, as "ResNet18_Weights.IMAGENET1K_V1", fetched from their
            official address.

    Returns:
        The SHA-256 of the file, as hexadecimal digits; of torchvision weights the part that is in the file's name.

    Raises:
        OSError: If there is no such file, or it cannot be fetched.
        ValueError: If the weights do not fit; says what differs.
    """
    inner = network.inner
    weights, sha256 = _read(source)
    where = f"network_ckpt: the weights in {source}"
    weights = fitting(weights, inner, where)
    own = inner.state_dict()
    fresh = [name for name in _head(own) if name in weights and weights[name].shape != own[name].shape]
    load_weights(inner, weights, where, fresh)
    new = f"; {', '.join(fresh)} start anew, since the classes are others" if fresh else ""
    rank_zero_info(f"network: weights of {source}{new}")
    return sha256


def _read(source: str) -> tuple[Mapping[str, Tensor], str]:
    if "_Weights." not in source:
        path = find_checkpoint(source, "network_ckpt")
        return read_checkpoint(path, "network_ckpt")["state_dict"], file_hash(path)
    try:
        entry = get_weight(source)
        weights = entry.get_state_dict(progress=True, check_hash=True, weights_only=True)
        return weights, entry.url.rpartition("-")[2].partition(".")[0]
    except (OSError, RuntimeError, UnpicklingError) as error:  # no network, another hash, or a file that is not theirs
        reason = str(error).partition("\n")[0]
        raise OSError(
            f"network_ckpt: {source} is not in {torch.hub.get_dir()} and cannot be fetched ({reason}); name a file"
        ) from error


def _head(weights: Mapping[str, Tensor]) -> list[str]:
    """Name weight and bias of the last layer."""
    last = next(name for name in reversed(list(weights)) if name.endswith(".weight"))
    return [name for name in weights if name.startswith(last.removesuffix("weight"))]
