"""A student that starts as an approximation of its teacher."""

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_tasks.data_free.base import DataFreeTask
from lightning_tasks.data_free.devices import copy_from_first
from lightning_tasks.networks import eval_mode, reconstruct

IMAGES = 1024


def reconstruct_student(task: DataFreeTask) -> dict[str, Tensor]:
    """Fit each layer of the student to the teacher's on synthetic images; the student is the same on all devices.

    Returns:
        See reconstruct.
    """
    z, _ = task.draw_noise(IMAGES, torch.Generator().manual_seed(task.seed))
    with eval_mode(task):
        x = torch.cat([task.synthesiser(each.to(task.device).to(task.dtype)) for each in z.split(task.batch_size)])
        channels = reconstruct(task.student.inner, task.teacher.network.inner, x)
        copy_from_first(task, task.student.state_dict().values())
        agreed = [
            task.student(each).argmax(dim=1) == task.teacher(each).argmax(dim=1) for each in x.split(task.batch_size)
        ]
    rank_zero_info(
        f"student: each layer fitted to the teacher's on {IMAGES:,} synthetic images; they agree on"
        f" {torch.cat(agreed).float().mean():.0%} of them"
    )
    channels = task.trainer.strategy.broadcast({name: each.cpu() for name, each in channels.items()})
    return {name: each.to(task.device) for name, each in channels.items()}
