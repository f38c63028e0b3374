"""Looking at networks while they learn."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(module: nn.Module, training: bool = False) -> Iterator[None]:
    """Look at a network and leave no trace: in evaluation mode, without gradients; then each part has its mode again.

    Without compilation, too: a compiled network calls no hooks that were added later, and would be compiled once more
    for this mode.

    Args:
        module: The network, or the task that it is a part of.
        training: In training mode instead, after which the buffers, as BatchNorm's statistics, are what they were.
    """
    modes = [(each, each.training) for each in module.modules() if hasattr(each, "training")]  # not frozen TorchScript
    buffers = [
        (part, name, buffer, buffer.clone())
        for part in (module.modules() if training else ())
        for name, buffer in part.named_buffers(recurse=False)
    ]
    module.train(training)
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for each, mode in modes:
            each.training = mode
        for part, name, buffer, before in buffers:
            if not torch.equal(buffer, before):
                buffer.copy_(before)
            setattr(part, name, buffer)  # some put another in its place
