"""Command line of all experiments: `python cli.py {fit,validate,test,predict} --config configs/<experiment>.yaml`."""

import functools
import os
import re
import shlex
import sys
from abc import ABCMeta
from pathlib import Path
from typing import Any, Literal

# Lightning 2.6 still calls names that jsonargparse 4.53 has deprecated.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

from jsonargparse import Namespace, set_parsing_settings
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelSummary
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

import datamodules
import lightning_tasks
from datamodules import BaseDataModule
from lightning_tasks import BaseTask, by_hand
from lightning_tasks.callbacks import RunCard, standard_callbacks
from runs import identity
from runs.checkpoints import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint, read_task_checkpoint
from runs.errors import OneLineErrorParser, one_line
from runs.folders import LAST, require_experiment
from runs.logger import ExperimentLogger, new_folder, place_loggers
from runs.quiet import silence_harmless_messages
from runs.resume import last_run

# ABCMeta: a type in Lightning's ModelPruning options, of which jsonargparse 4.53 cannot list the subclasses.
set_parsing_settings(add_print_completion_argument=True, subclasses_disabled=[ABCMeta])
OneLineErrorParser.classes = {
    "model": (lightning_tasks, BaseTask),
    "data": (datamodules, BaseDataModule),
    "layers": (by_hand, by_hand.Layer),
    "rule": (by_hand, by_hand.UpdateRule),
}


class TaskCLI(LightningCLI):
    """LightningCLI with this project's log folders, checkpoints, run card and link between data and task."""

    trainer: Trainer
    goes_on_with: Path | None = None

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that every experiment has."""
        parser.add_argument("--experiment", type=str, default="unnamed", help="Name of the folder under logs/.")
        parser.add_argument(
            "--test_after_fit", type=bool, default=True, help="Test the best checkpoint after fit and write run.json."
        )
        parser.add_argument("--pictures", type=bool, default=True, help="Whether the callbacks that draw are used.")
        parser.add_argument(
            "--checkpoint_best.monitor", type=str | None, help="Metric that chooses; the task's own if not given."
        )
        parser.add_argument(
            "--checkpoint_best.mode",
            type=Literal["min", "max"] | None,
            help="What is best; the task's own if not given.",
        )
        parser.link_arguments("data.facts", "model.init_args.facts", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Keep the command line for the run card, and find the run or the checkpoint to go on with."""
        words = args if isinstance(args, list) else sys.argv[1:]
        self.command = re.sub(r" --ckpt_path[= ]last\b", "", f"python cli.py {shlex.join(words)}")
        super().parse_arguments(parser, args)
        subcommand = self.config.get("subcommand")
        config = self.config[subcommand] if subcommand else self.config
        require_experiment(config.experiment)
        self.configuration = identity.configuration(config)
        if subcommand and config.ckpt_path == "last":
            folder = Path(config.trainer.default_root_dir or "logs", config.experiment)
            ours = self.configuration if subcommand == "fit" else None
            self.goes_on_with = last_run(folder, config.seed_everything, ours, parser)
            config.ckpt_path = str(self.goes_on_with / LAST) if self.goes_on_with else None
        if subcommand and config.ckpt_path:
            read_task_checkpoint(Path(config.ckpt_path))

    def _parse_ckpt_path(self) -> None:
        """Take the options of the checkpoint; the saved config is to say how to repeat a run, not how to go on."""
        super()._parse_ckpt_path()
        if self.goes_on_with:
            self.config[self.config.subcommand].ckpt_path = None

    def before_fit(self) -> None:
        """Hand the last checkpoint to the trainer."""
        if self.goes_on_with:
            self.config_init[self.subcommand]["ckpt_path"] = str(self.goes_on_with / LAST)

    before_validate = before_test = before_predict = before_fit

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder: Lightning's own logger claims it when it starts, others are put into it."""
        trainer, experiment = self._get(self.config, "trainer"), self._get(self.config, "experiment")
        self.logs = Path(trainer.default_root_dir or "logs").resolve()  # Lightning compares folders as text
        # An evaluation has a folder of its own.
        self.folder = self.goes_on_with.resolve() if self.goes_on_with and self.subcommand == "fit" else None
        if trainer.logger not in (None, True):
            self.folder = self.folder or new_folder(self.logs / experiment)
            place_loggers(trainer.logger, self.logs, self.folder)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the experiment's log folder, checkpoints and run card."""
        trainer, experiment = self._get(self.config_init, "trainer"), self._get(self.config_init, "experiment")
        if trainer.logger in (None, True):
            version = self.folder.name if self.folder else None
            kwargs["logger"] = ExperimentLogger(self.logs, name=experiment, version=version, default_hp_metric=False)
        else:
            kwargs["default_root_dir"] = str(self.folder)
        best = self._get(self.config_init, "checkpoint_best")
        self.best = BestCheckpoint(best.monitor or self.model.monitor, best.mode or self.model.mode)
        self.run_card = RunCard(experiment, self.command, self.configuration, self.best.monitor)
        callbacks = standard_callbacks(trainer, self.subcommand, self._get(self.config_init, "pictures"))
        callbacks += [self.run_card, self.best, LastCheckpoint()]
        plugins = [*(trainer.plugins or []), AtomicCheckpointIO()]
        kwargs["enable_model_summary"] = any(isinstance(each, ModelSummary) for each in callbacks)  # else it is ours
        return super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)

    def after_fit(self) -> None:
        """Test the checkpoint that validation chose, once, and write the run card."""
        if self.trainer.fast_dev_run or not self._get(self.config, "test_after_fit"):  # type: ignore[attr-defined]
            return
        best = self.best.best_model_path
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best or None)
        path = self.run_card.write(self.trainer, Path(best) if best else None)
        if self.trainer.is_global_zero:
            print(f"run card: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


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


def main(args: ArgsType = None, run: bool = True, cli_class: type[TaskCLI] = TaskCLI) -> TaskCLI:
    """Parse a command line and run it.

    Args:
        args: Words of the command line, or a config as a dictionary; the words of the process if not given.
        run: Whether to run the subcommand; else only build data, task and trainer, without a subcommand in `args`.
        cli_class: What parses and runs it.

    Returns:
        The CLI object with `trainer`, `model`, `datamodule` and `config`.
    """
    silence_harmless_messages()
    return cli_class(
        BaseTask,
        BaseDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        parser_class=OneLineErrorParser,
        auto_configure_optimizers=False,
        seed_everything_default=42,
        save_config_kwargs={"overwrite": True},
        # The training sampler is the datamodule's own, and every device evaluates all samples.
        trainer_defaults={"use_distributed_sampler": False},
        args=args,
        run=run,
    )


def command() -> None:
    """Run the command line of this process; errors are one line."""
    one_line(main)


if __name__ == "__main__":
    command()
