"""Runs `fit`, `validate`, `test` and `predict`."""

from pytorch_lightning.cli import ArgsType

from datamodules import BaseDataModule
from lightning_tasks.base import BaseTask
from lightning_tasks.cli.quiet import silence_harmless_messages
from lightning_tasks.cli.save_config import SaveRunConfig
from lightning_tasks.cli.task_cli import TaskCLI


def main(args: ArgsType = None, run: bool = True) -> TaskCLI:
    """Parse a command line and run it.

    Args:
        args: Words of the command line, or a config as a dictionary; the words of the process if not given.
        run: Whether to run the subcommand; else only build data, task and trainer, without a subcommand in `args`.

    Returns:
        The CLI object with `trainer`, `model`, `datamodule` and `config`.
    """
    silence_harmless_messages()
    return TaskCLI(
        BaseTask,
        BaseDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=42,
        save_config_callback=SaveRunConfig,
        args=args,
        run=run,
    )
