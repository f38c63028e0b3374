"""Slurm: what a run does in a job of it, see docs/slurm.sh."""

from collections.abc import Iterable
from typing import Any

from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment


def slurm_plugins(plugins: Iterable[Any]) -> list[ClusterEnvironment]:
    """Leave it to the job script to requeue the job, whose run then goes on by `--ckpt_path last`.

    Lightning's own way, on SIGUSR1, writes a checkpoint in the middle of an epoch to the folder of all runs, from which
    any later run would go on.

    Args:
        plugins: Plugins of the config, one of which may be an environment.

    Returns:
        The environment that the trainer is to have besides; none outside of Slurm, or under torchrun.
    """
    given = any(isinstance(each, ClusterEnvironment) for each in plugins)
    if given or TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]
