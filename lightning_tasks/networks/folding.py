"""Folding BatchNorm into convolutions, for frozen networks."""

from torch import fx, nn


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
        ValueError: If the network is in training mode, where BatchNorm is not a constant function.
    """
    # Here, since it imports torch.ao: start-up time, and types that the config schema of jsonargparse cannot express.
    from torch.fx.experimental.optimization import fuse

    if any(module.training for module in network.modules()):
        raise ValueError("fold_batchnorm needs a network in eval mode: call network.eval() first")
    folded = fuse(network)
    assert isinstance(folded, fx.GraphModule)
    return folded.eval().requires_grad_(False)
