"""The parser of the command line, for those who read commands, runs and run cards without running them."""

import functools

from jsonargparse import Namespace
from pytorch_lightning.cli import ArgsType, LightningArgumentParser

from cli import TaskCLI, main


class ParserOnly(TaskCLI):
    """The command line before it has read a word."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Read nothing."""
        self.config = Namespace(subcommand=None)

    def _set_seed(self) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        """Choose no folder."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


@functools.cache
def task_parser() -> LightningArgumentParser:
    """Give the parser of the command line, for `runs.identity` to read commands, runs and run cards with."""
    return main([], cli_class=ParserOnly).parser
