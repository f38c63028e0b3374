"""Players that take turns, on several devices.

DistributedDataParallel expects a gradient of every parameter from each backward pass, and a player's pass has none of
the other's. So the passes stay local, and each player's gradients are averaged once a step.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, distributed, nn


def local_gradients(task: LightningModule) -> AbstractContextManager[None]:
    """Keep backward passes from averaging gradients over devices."""
    strategy = task.trainer.strategy
    return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()


def average_gradients(task: LightningModule, player: nn.Module) -> None:
    """Average a player's gradients over devices, in one message."""
    if task.trainer.world_size == 1:
        return
    gradients = [each.grad for each in player.parameters() if each.grad is not None]
    mean = task.trainer.strategy.reduce(torch.cat([each.flatten() for each in gradients]), reduce_op="mean")
    assert isinstance(mean, Tensor)
    parts = mean.split([each.numel() for each in gradients])
    torch._foreach_copy_(gradients, [part.view_as(each) for part, each in zip(parts, gradients, strict=True)])


def copy_buffers(task: LightningModule) -> None:
    """Give all devices rank 0's buffers, which a checkpoint saves: each has BatchNorm statistics of its own images."""
    copy_from_first(task, task.buffers())


@torch.no_grad()
def copy_from_first(task: LightningModule, tensors: Iterable[Tensor]) -> None:
    """Give all devices rank 0's tensors."""
    if task.trainer.world_size > 1:
        for each in tensors:
            distributed.broadcast(each, 0)
