"""What the layers of a network give, beside its answer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork


def require_layers(layers: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names of layers that a network does not have.

    Raises:
        ValueError: If there is one; says what names are known, those that are alike or the first ten.
    """
    for name in layers:
        if name not in known:
            named = get_close_matches(name, known, n=3) or known[:10]
            more = f" and {len(known) - len(named)} more" if len(known) > len(named) else ""
            raise ValueError(f"no layer {name!r} in the network; known are {', '.join(named)}{more}")


class WithFeatures(nn.Module):
    """A network that also gives what layers give on the way.

    torch.compile follows it part by part, since a compiled network calls no hooks that were added later.

    Args:
        network: The network.
        layers: Keys of the `named_modules` of its `inner`; compiled, they must be among its parts, see `are_parts`.
    """

    def __init__(self, network: ImageNetwork, layers: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._layers = layers
        self._parts = _named_parts(network)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Map images (B, C, H, W) to logits (B, num_classes), and to the layers' outputs by name."""
        if not torch.compiler.is_compiling():
            with recorded(self.network.inner, self._layers) as outputs:
                return self.network(x), outputs
        outputs = {}
        for name, part in self._parts:
            x = part(x)
            if name in self._layers:
                outputs[name] = x
        return x, outputs


def are_parts(network: ImageNetwork, layers: Sequence[str]) -> bool:
    """Say whether layers are all among the parts that a network goes through one after the other."""
    return {*layers} <= {name for name, _ in _named_parts(network)}


def _named_parts(network: ImageNetwork) -> list[tuple[str, nn.Module]]:
    names = {module: name for name, module in network.inner.named_modules()}
    return [(names.get(part, ""), part) for part in network.parts()]


@contextmanager
def recorded(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what layers give while the network is called.

    Args:
        network: Not compiled, since a compiled network calls no hooks that were added later.
        layers: Keys of its `named_modules`.

    Yields:
        The outputs by name, in the order in which the layers are called.

    Raises:
        ValueError: If there is no such layer, or it was not called or gave no tensor.
    """
    modules = dict(network.named_modules())
    require_layers(layers, [name for name in modules if name])
    outputs: dict[str, Tensor] = {}
    hooks = [
        modules[layer].register_forward_hook(lambda _, __, output, layer=layer: outputs.update({layer: output}))
        for layer in layers
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
    for layer in layers:
        if not isinstance(outputs.get(layer), Tensor):
            raise ValueError(f"layer {layer!r} gives no tensor when the network maps images to scores")
