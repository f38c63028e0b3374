"""Runs `fit`, `validate`, `test` and `predict`."""

from pytorch_lightning.cli import ArgsType

from lightning_tasks.cli.quiet import silence_harmless_messages
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
    return TaskCLI(args, run)
