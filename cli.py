"""Command line of all experiments: `python cli.py {fit,validate,test,predict} --config configs/<experiment>.yaml`."""

if __name__ == "__main__":
    from runs.signals import end_in_one_line

    end_in_one_line()

import json
import os
import re
import shlex
import sys
from abc import ABCMeta
from pathlib import Path
from typing import Any, Literal

# Lightning 2.6 still calls names that jsonargparse 4.53 has deprecated.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

import torch
from filelock import FileLock
from jsonargparse import Namespace, set_parsing_settings
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.strategies import DDPStrategy

import datamodules
import lightning_tasks
from datamodules import BaseDataModule
from lightning_tasks import BaseTask, ImageTask, SketchTask, by_hand
from lightning_tasks.callbacks import RunCard, standard_callbacks
from lightning_tasks.networks import FACTS, ImageNetwork
from runs import identity
from runs.any_class import take_any
from runs.checkpoints import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint, read_task_checkpoint
from runs.errors import OneLineErrorParser, how_to_go_on, one_line
from runs.folders import (
    LAST,
    is_first_process,
    lock_run,
    newest_version,
    own_run_folder,
    remove_if_not_begun,
    require_experiment,
    run_folder,
)
from runs.logger import ExperimentLogger, log_card, place_run
from runs.needs import CHAIN, prepare
from runs.outcome import after_a_run, print_figures, print_outcome
from runs.precision import fast_kernels, usable_precision
from runs.profiler import NoProfiler
from runs.quiet import silence_harmless_messages
from runs.ranks import OneRun, limit_waits
from runs.remedies import how_to_make
from runs.resume import checkpoint_of, run_to_go_on_with
from runs.seed import require_seed
from runs.signals import KILL, end_in_time, leave_to_the_run
from runs.slurm import slurm_plugins
from runs.trainer_options import require_trainer
from runs.unique_keys import require_unique_keys_in_configs
from runs.whole_files import NO_ROOM, write_whole

# ABCMeta: a type in Lightning's ModelPruning options, of which jsonargparse 4.53 cannot list the subclasses.
set_parsing_settings(add_print_completion_argument=True, subclasses_disabled=[ABCMeta])
require_unique_keys_in_configs()
take_any(ImageNetwork, FACTS)
OneLineErrorParser.classes = {"model": (lightning_tasks, BaseTask), "data": (datamodules, BaseDataModule)}
OneLineErrorParser.classes |= dict.fromkeys(("network", "teacher", "student"), (lightning_tasks, ImageNetwork))
OneLineErrorParser.classes |= {"layers": (by_hand, by_hand.Layer), "rule": (by_hand, by_hand.UpdateRule)}


class SaveRunConfig(SaveConfigCallback):
    """Writes `config.yaml` to the run's folder; Lightning's own asks the logger for one, and not every logger has.

    While a run is trained, no other process can train it.
    """

    lock: FileLock | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it once, before anything is trained.

        Raises:
            ValueError: If another process trains this run.
        """
        folder = run_folder(trainer)
        if not self.already_saved and trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            if stage == "fit":
                self.lock = lock_run(folder)
            write_whole(folder / self.config_filename, self.parser.dump(self.config, skip_none=False))
        self.already_saved = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let others train the run."""
        if self.lock is not None:
            self.lock.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no folder of a run that ended before its first step, as with an option that is refused late.

        An error of writing that does not say where gets the run's folder.
        """
        self.teardown(trainer, pl_module, "fit")
        if not trainer.is_global_zero:
            return
        folder = own_run_folder(trainer)
        if isinstance(exception, OSError) and exception.errno in NO_ROOM and exception.filename is None:
            exception.filename = os.path.relpath(folder)  # whoever wrote, as a logger, it was there
        if trainer.global_step == 0:
            remove_if_not_begun(folder, Path(self.config.trainer.default_root_dir or "logs"), trainer.loggers)


class TaskCLI(LightningCLI):
    """LightningCLI with this project's log folders, checkpoints, run card and link between data and task."""

    trainer: Trainer
    goes_on_with: Path | None = None
    refusal: ValueError | SystemExit | None = None

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that every experiment has."""
        parser.add_argument("--experiment", type=str, default="unnamed", help="Name of the folder under logs/.")
        parser.add_argument("--test_after_fit", type=bool, default=True, help="Test the best weights, write run.json.")
        parser.add_argument("--prepare", type=bool, default=True, help="Train a missing teacher or recogniser first.")
        parser.add_argument("--pictures", type=bool, default=True, help="Whether the callbacks that draw are used.")
        parser.add_argument("--plot_id", type=str | None, help="Mark that pictures carry, as your name and number.")
        parser.add_argument("--checkpoint_best.monitor", type=str | None, help="What chooses; else the task's own.")
        parser.add_argument("--checkpoint_best.mode", type=Literal["min", "max"] | None, help="Which is best.")
        parser.link_arguments("data.facts", "model.init_args.facts", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Keep the command line for the run card, and find the run or the checkpoint to go on with."""
        self.words = args if isinstance(args, list) else sys.argv[1:]
        self.command = re.sub(r" --ckpt_path[= ]last\b", "", f"python cli.py {shlex.join(self.words)}")
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
            prepare(config, self.words, parser, config.prepare)
        self.configuration = identity.configuration(config)
        folder = Path(config.trainer.default_root_dir or "logs", config.experiment)
        if subcommand == "fit" and config.ckpt_path == "best":
            raise ValueError("ckpt_path: best is for test, validate and predict; fit goes on with --ckpt_path last")
        if subcommand == "fit" and config.ckpt_path == "last":
            try:
                self.goes_on_with = run_to_go_on_with(folder, config.seed_everything, self.configuration, parser)
            except (ValueError, SystemExit) as refusal:
                if config.trainer.num_nodes == 1:
                    raise
                self.refusal = refusal  # other machines, which may have other folders, are to end too
            config.ckpt_path = str(self.goes_on_with / LAST) if self.goes_on_with else None
            if self.goes_on_with and is_first_process():
                lock_run(self.goes_on_with).release()  # held from SaveRunConfig.setup on; here nothing is written yet
        elif subcommand and config.ckpt_path in ("best", "last"):
            config.ckpt_path = str(checkpoint_of(config.ckpt_path, folder, config.seed_everything, parser))
        if subcommand and (path := config.ckpt_path):
            if not Path(path).is_file():
                raise FileNotFoundError(f"ckpt_path: no checkpoint at {path}{how_to_make(path)}")
            read_task_checkpoint(Path(path), identity.as_saved(parser, self.config))
        elif subcommand not in (None, "fit"):
            begun = newest_version(folder, lambda run: (run / LAST).is_file())
            how = "; the same command with --ckpt_path best takes it" if begun else how_to_make(folder)
            raise ValueError(f"ckpt_path: {subcommand} needs a checkpoint, or best or last of the newest run{how}")

    def _parse_ckpt_path(self) -> None:
        """Take the options of the checkpoint; the saved config is to say how to repeat a run, not how to go on."""
        super()._parse_ckpt_path()
        if (name := self.config.get("subcommand")) not in (None, "fit"):
            self.config = self.parser.parse_args([name, *identity.task_options(self.words)], namespace=self.config)
        if name == "predict":
            self._take_files_alone(self.config.predict)
        if self.goes_on_with:
            self.config[self.config.subcommand].ckpt_path = None

    def _take_files_alone(self, config: Namespace) -> None:
        """Read no training data to answer a user's files; a checkpoint of old does not name the classes."""
        options = config.data.get("init_args", {})
        if config.data.class_path.startswith("datamodules.") and options.get("predict"):
            facts = torch.load(config.ckpt_path, weights_only=True, map_location="cpu", mmap=True).get("facts", {})
            if "classes" in facts:
                chosen = {"facts": facts, "predict": options.predict, "eval_batch_size": options.eval_batch_size}
                config.data = Namespace(class_path="datamodules.files.FilesDataModule", init_args=Namespace(**chosen))

    def before_fit(self) -> None:
        """Hand the last checkpoint to the trainer, and the signals."""
        leave_to_the_run()
        if self.trainer.num_nodes * self.trainer.num_devices > 1:
            end_in_time(how_to_go_on(), self.end_other_processes)
        if self.goes_on_with:
            self.config_init[self.subcommand]["ckpt_path"] = str(self.goes_on_with / LAST)

    before_validate = before_test = before_predict = before_fit

    def end_other_processes(self) -> None:
        """End those that Lightning's launcher has started here, and that may stand still."""
        if launcher := self.trainer.strategy.launcher:
            launcher.kill(KILL)

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder; an evaluation of a run has one of its own."""
        trainer, experiment = (self._get(self.config, name) for name in ("trainer", "experiment"))
        self.place = place_run(trainer, experiment, self.goes_on_with)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the experiment's log folder, checkpoints and run card."""
        config = self.config_init.get(str(self.subcommand), self.config_init)
        best = config.checkpoint_best
        monitor = self.model.monitor if best.monitor is None else best.monitor
        self.best = BestCheckpoint(monitor, best.mode or self.model.mode)
        self.run_card = RunCard(config.experiment, self.command, self.configuration, self.best.monitor, config.plot_id)
        callbacks = standard_callbacks(config.trainer, self.subcommand, config.pictures, self.model)
        callbacks += [self.run_card, self.best, LastCheckpoint()]
        checkpoint = self.goes_on_with / LAST if self.goes_on_with else config.get("ckpt_path")
        given = self.config.get(str(self.subcommand), self.config)
        callbacks.insert(0, OneRun(given, checkpoint and Path(checkpoint), self.refusal))
        plugins = [*(config.trainer.plugins or []), AtomicCheckpointIO()]
        plugins += slurm_plugins(plugins)
        kwargs["precision"] = usable_precision(config.trainer)
        kwargs["benchmark"] = fast_kernels(config.trainer)
        kwargs["profiler"] = config.trainer.profiler or NoProfiler()
        kwargs["enable_model_summary"] = False  # the first lines are ours; one among the callbacks is used all the same
        trainer = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **self.place, **kwargs)
        for logger in trainer.loggers:
            if isinstance(logger, ExperimentLogger):
                logger.writes = self.subcommand in (None, "fit")
        if isinstance(config.trainer.strategy, str):
            limit_waits(trainer.strategy)
        return trainer

    def after_fit(self) -> None:
        """Test the checkpoint that validation chose, once, write the run card, and say what came of it."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        best = self.best.best_model_path
        if self._get(self.config, "test_after_fit"):
            # It lies on the first machine, whose weights DDP gives to the others.
            elsewhere = not best or (isinstance(self.trainer.strategy, DDPStrategy) and not self.trainer.is_global_zero)
            ckpt = None if elsewhere else best
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=ckpt, verbose=False)
            path = self.run_card.write(self.trainer, Path(best) if best else None)
            if self.trainer.is_global_zero:
                log_card(self.trainer.loggers, path, [str(self.best.monitor), *self.model.headline])
                print_outcome(json.loads(path.read_text()), path.parent)
        self.say_next(best)

    def after_test(self) -> None:
        """Say where the figures are."""
        if self.trainer.is_global_zero:
            print_figures(run_folder(self.trainer))

    def say_next(self, best: str) -> None:
        """Print the commands that make sense now.

        Args:
            best: The best checkpoint, if there is one.
        """
        run = run_folder(self.trainer)
        if not self.trainer.is_global_zero or os.environ.get(CHAIN):  # then the run that needs this one comes next
            return
        commands = []
        if self._get(self.config, "test_after_fit"):
            kinds = {ImageTask: "export", SketchTask: "live"}
            kind = next((name for task, name in kinds.items() if isinstance(self.model, task)), "")
            commands = after_a_run(run, kind, self.run_card.facts.get("teacher_ckpt"), self.trainer.loggers)
        elif best:
            config = os.path.relpath(run / identity.CONFIG)
            commands = [f"python cli.py test --config {config} --ckpt_path {os.path.relpath(best)}"]
        if commands:
            print(f"next: {f'{chr(10)}      '.join(commands)}", flush=True)


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
        save_config_callback=SaveRunConfig,
        # The training sampler is the datamodule's own, and every device evaluates all samples.
        trainer_defaults={"use_distributed_sampler": False},
        args=args,
        run=run,
    )


def command() -> None:
    """Run the command line of this process, which may name classes of the current folder; errors are one line."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    one_line(main)


if __name__ == "__main__":
    command()
