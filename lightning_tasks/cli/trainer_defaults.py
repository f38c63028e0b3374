"""What this project gives Lightning's trainer beside what a config says."""

from typing import Any

from pytorch_lightning import Trainer

from lightning_tasks.cli.precision import fast_kernels, usable_precision
from lightning_tasks.cli.profiler import NoProfiler
from lightning_tasks.runs.checkpoints import AtomicCheckpointIO
from lightning_tasks.runs.logger import ExperimentLogger
from lightning_tasks.runs.ranks import limit_waits
from lightning_tasks.runs.signals import KILL
from lightning_tasks.runs.slurm import slurm_plugins


def trainer_options(config: Any) -> dict[str, Any]:
    """Give the options that take the place of a config's.

    Args:
        config: The trainer's options, with its parts built.
    """
    plugins = [*(config.plugins or []), AtomicCheckpointIO()]
    return {
        "plugins": [*plugins, *slurm_plugins(plugins)],
        "precision": usable_precision(config),
        "benchmark": fast_kernels(config),
        "profiler": config.profiler or NoProfiler(),
        "enable_model_summary": False,  # the first lines are ours; one among the callbacks is used all the same
    }


def set_up(trainer: Trainer, subcommand: str | None, strategy: Any) -> None:
    """Let only a fit write to the logger of this project, and limit how long processes wait for each other.

    Args:
        trainer: The trainer.
        subcommand: Subcommand of the command line.
        strategy: Strategy as in the config; a user's object has a timeout of its own.
    """
    for logger in trainer.loggers:
        if isinstance(logger, ExperimentLogger):
            logger.writes = subcommand in (None, "fit")
    if isinstance(strategy, str):
        limit_waits(trainer.strategy)


def end_other_processes(trainer: Trainer) -> None:
    """End the processes that Lightning's launcher has started here, and that may stand still."""
    if launcher := trainer.strategy.launcher:
        launcher.kill(KILL)
