"""What the layers of a network give, beside its answer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


def require_layers(network: nn.Module, layers: Sequence[str], option: str) -> None:
    """Refuse names of layers that a network does not have.

    Raises:
        ValueError: If there is one; says what names there are, no more than twenty.
    """
    there = [name for name, _ in network.named_modules() if name]
    for layer in layers:
        if layer not in there:
            names = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
            raise ValueError(f"{option}: no layer {layer!r} in {type(network).__name__}; there are {names}")


@contextmanager
def recorded(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what layers give while the network is called.

    Args:
        network: Not compiled, since a compiled network calls no hooks that were added later.
        layers: Names of its modules.

    Yields:
        The outputs by name, in the order in which the layers are called.
    """
    outputs: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    hooks = [
        modules[layer].register_forward_hook(lambda _, __, output, layer=layer: outputs.update({layer: output}))
        for layer in layers
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
