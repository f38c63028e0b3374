"""LightningCLI with this project's log folders, checkpoints, run card, and link between data and task."""

import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.strategies import DDPStrategy

from datamodules import BaseDataModule
from lightning_tasks.base import BaseTask
from lightning_tasks.callbacks import RunCard, standard_callbacks
from lightning_tasks.cli.checkpoint_choice import choose_checkpoint, files_alone, files_of, replace_missing_files
from lightning_tasks.cli.needs import prepare
from lightning_tasks.cli.outcome import next_commands, print_figures, print_outcome
from lightning_tasks.cli.parser import build_parsers
from lightning_tasks.cli.save_config import SaveRunConfig
from lightning_tasks.cli.trainer_defaults import end_other_processes, set_up, trainer_options
from lightning_tasks.cli.trainer_options import require_trainer
from lightning_tasks.runs import identity
from lightning_tasks.runs.checkpoints import BestCheckpoint, LastCheckpoint
from lightning_tasks.runs.errors import how_to_resume
from lightning_tasks.runs.folders import LAST, require_experiment, run_folder
from lightning_tasks.runs.logger import log_card, place_run
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.runs.ranks import OneRun
from lightning_tasks.runs.renames import renamed_args
from lightning_tasks.runs.seed import require_seed
from lightning_tasks.runs.signals import end_by_exception, end_in_time


class TaskCLI(LightningCLI):
    """LightningCLI with this project's log folders, checkpoints, run card, and link between data and task."""

    trainer: Trainer
    resumes: Path | None = None
    refusal: ValueError | SystemExit | None = None

    def __init__(self, args: ArgsType, run: bool) -> None:
        self.args = renamed_args(args if isinstance(args, list) else sys.argv[1:])
        modes = {"subclass_mode_model": True, "subclass_mode_data": True, "auto_configure_optimizers": False}
        super().__init__(BaseTask, BaseDataModule, SaveRunConfig, args=args, run=run, **modes)  # type: ignore[arg-type]

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Build the parser as the readers of cards do; that of `fit` reads saved runs, whatever the subcommand."""
        parsers = build_parsers(["fit", *self.args[:1]] if add_subcommands else [])
        self.parser, self._subcommand_parsers, self._subcommand_method_arguments = parsers

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Keep the command line for the run card, and find the run or the checkpoint to resume."""
        self.command = re.sub(r" --ckpt_path[= ]last\b", "", f"{PROGRAM} {shlex.join(self.args)}")
        super().parse_arguments(parser, args)
        subcommand = self.config.get("subcommand")
        config = self.config[subcommand] if subcommand else self.config
        for options, name in ((config.trainer, "default_root_dir"), (config, "ckpt_path")):
            if options.get(name):
                options[name] = os.path.expanduser(options[name])
        require_experiment(config.experiment)
        require_seed(config.seed_everything, "seed_everything")
        if subcommand:
            require_trainer(config.trainer, subcommand, config.get("test_after_fit", False))
        if subcommand == "fit" and not config.trainer.fast_dev_run:
            prepare(config, self.args, parser, config.prepare)
        self.configuration = identity.configuration(config)
        if subcommand:
            self.resumes, self.refusal = choose_checkpoint(self.config, self.configuration, parser)

    def _parse_ckpt_path(self) -> None:
        """Take the options of the checkpoint; the saved config is to say how to repeat a run, not how to go on."""
        name = self.config.get("subcommand")
        given = files_of(self.config)
        super()._parse_ckpt_path()
        replace_missing_files(self.config, given)
        if name not in (None, "fit"):
            self.config = self.parser.parse_args([name, *identity.task_options(self.args)], namespace=self.config)
        if name == "predict":
            files_alone(self.config.predict)
        if self.resumes:
            self.config[self.config.subcommand].ckpt_path = None

    def before_fit(self) -> None:
        """Hand the last checkpoint to the trainer, and the signals."""
        end_by_exception()
        if self.trainer.num_nodes * self.trainer.num_devices > 1:
            end_in_time(how_to_resume, lambda: end_other_processes(self.trainer))
        if self.resumes:
            self.config_init[self.subcommand]["ckpt_path"] = str(self.resumes / LAST)

    before_validate = before_test = before_predict = before_fit

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder; an evaluation of a run has one of its own."""
        trainer, experiment = (self._get(self.config, name) for name in ("trainer", "experiment"))
        self.place = place_run(trainer, experiment, self.resumes)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the experiment's log folder, checkpoints and run card."""
        config = self.config_init.get(str(self.subcommand), self.config_init)
        best = config.checkpoint_best
        monitor = self.model.monitor if best.monitor is None else best.monitor
        self.best = BestCheckpoint(monitor, best.mode or self.model.mode)
        self.run_card = RunCard(config.experiment, self.command, self.configuration, self.best.monitor, config.plot_id)
        checkpoint = self.resumes / LAST if self.resumes else config.get("ckpt_path")
        given = self.config.get(str(self.subcommand), self.config)
        callbacks = [
            OneRun(given, checkpoint and Path(checkpoint), self.refusal),
            *standard_callbacks(config.trainer, self.subcommand, config.plots, self.model),
            *(self.run_card, self.best, LastCheckpoint()),
        ]
        options = kwargs | self.place | trainer_options(config.trainer)
        trainer = super().instantiate_trainer(callbacks=callbacks, **options)
        set_up(trainer, self.subcommand, config.trainer.strategy)
        return trainer

    def after_fit(self) -> None:
        """Test the checkpoint that validation chose, once, write the run card, and say what came of it."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        end_by_exception()
        best, run, tested = (
            self.best.best_model_path,
            run_folder(self.trainer),
            self._get(self.config, "test_after_fit"),
        )
        if tested:
            # It lies on the first machine, whose weights DDP gives to the others.
            elsewhere = not best or (isinstance(self.trainer.strategy, DDPStrategy) and not self.trainer.is_global_zero)
            ckpt = None if elsewhere else best
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=ckpt, verbose=False)
            path = self.run_card.write(self.trainer, Path(best) if best else None)
            if self.trainer.is_global_zero:
                log_card(self.trainer.loggers, path, [str(self.best.monitor), *self.model.headline])
                print_outcome(json.loads(path.read_text()), path.parent)
        if self.trainer.is_global_zero and (commands := next_commands(run, best, tested, self.run_card, self.trainer)):
            print(f"next: {f'{chr(10)}      '.join(commands)}", flush=True)

    def after_test(self) -> None:
        """Say where the figures are."""
        if self.trainer.is_global_zero:
            print_figures(run_folder(self.trainer))
