"""Layers in a row: forward from left to right, backward from right to left."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from lightning_tasks.by_hand.layers import Layer, Shape

Array = Any


class Network:
    """A chain of layers, y = f_n(... f_2(f_1(x))).

    The chain rule in a chain: each layer's dx is the dy of the layer before it.

    Args:
        layers: Layers in order.
        input_shape: Shape of one input sample, without the batch.

    Attributes:
        layers: By name: the class in lower case and a count, as "linear_1", "relu_1", "linear_2".
        output_shape: Shape of one output sample, without the batch.

    Raises:
        ValueError: If a layer cannot take what the one before it gives; both shapes are named.
    """

    def __init__(self, layers: Sequence[Layer], input_shape: Shape) -> None:
        if not any(layer.weight_shapes for layer in layers):
            raise ValueError("a network needs at least one layer with weights")
        if len({id(layer) for layer in layers}) < len(layers):
            raise ValueError("duplicate layer in the network; each place needs a layer of its own")
        self.layers: dict[str, Layer] = {}
        counts: Counter[str] = Counter()
        shape = tuple(input_shape)
        before = "the input"
        for layer in layers:
            kind = type(layer).__name__
            counts[kind] += 1
            name = f"{kind.lower()}_{counts[kind]}"
            try:
                shape = layer.output_shape(shape)
            except ValueError as error:
                raise ValueError(f"layers: {name} does not fit behind {before}: it {error}") from None
            self.layers[name] = layer
            before = name
        self.output_shape = shape
        self._first = next(name for name, layer in self.layers.items() if layer.weight_shapes)

    def weights(self) -> Iterator[tuple[str, Layer, str]]:
        """Go through all weight arrays: full name as "linear_1_weight", layer, and name in the layer as "weight"."""
        for name, layer in self.layers.items():
            for weight in layer.weight_shapes:
                yield f"{name}_{weight}", layer, weight

    def forward(self, x: Array) -> Array:
        """Map samples x `(B, *input_shape)` to y `(B, *output_shape)`."""
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> None:
        """Pass dy `(B, *output_shape)` back as far as there are weights; each layer keeps its own derivatives."""
        for name, layer in reversed(self.layers.items()):
            is_first = name == self._first
            dy = layer.backward(dy, wants_dx=not is_first)
            if is_first:
                break
