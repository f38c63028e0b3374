"""Folding BatchNorm into convolutions, for frozen networks."""

import copy
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn

from lightning_tasks.networks.small_maps import SmallMapConv2d


def fold_batchnorm(network: nn.Module) -> fx.GraphModule:
    """Return a copy of a frozen network in which each BatchNorm that follows a convolution is part of it.

    In eval mode BatchNorm is y = g (x - m) / sqrt(v + e) + b with constants, so it can be multiplied into the weights
    of the layer before: the same function, without a pass over the activations per BatchNorm.

    Args:
        network: A network in eval mode that torch.fx can trace (no branches on tensor values).

    Returns:
        The folded copy, in eval mode; equal outputs up to rounding. Its parameters require no gradient, but gradients
        pass through it to its input.

    Raises:
        ValueError: If the network is in training mode, where BatchNorm is not a constant function, or has a part that
            torch.fx takes for an opaque value, as TorchScript: its weights would not move with the copy.
    """
    # Here, since it imports torch.ao: start-up time, and types that the config schema of jsonargparse cannot express.
    from torch.fx.experimental.optimization import fuse

    if any(module.training for module in network.modules()):
        raise ValueError("fold_batchnorm needs a network in eval mode: call network.eval() first")
    network = copy.deepcopy(network)
    traced = fx.GraphModule(network, Tracer().trace(network))
    for node in traced.graph.find_nodes(op="get_attr"):
        if not isinstance(attrgetter(node.target)(traced), Tensor):
            raise ValueError(f"torch.fx cannot look into {node.target}")
    small = {name for name, module in traced.named_modules() if isinstance(module, SmallMapConv2d)}
    for name in small:
        traced.get_submodule(name).__class__ = nn.Conv2d  # the only class that torch folds
    folded = fuse(traced, inplace=True, no_trace=True)
    for name in small:
        folded.get_submodule(name).__class__ = SmallMapConv2d
    assert isinstance(folded, fx.GraphModule)
    return folded.eval().requires_grad_(False)


class Tracer(fx.Tracer):
    """Does not look into SmallMapConv2d, which asks for the size of its maps."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> Any:
        """Say whether a module is one step."""
        return isinstance(m, SmallMapConv2d) or super().is_leaf_module(m, module_qualified_name)
