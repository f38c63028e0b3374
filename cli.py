"""Command line of all experiments: `python cli.py {fit,validate,test,predict} --config configs/<experiment>.yaml`."""

import hashlib
import json
import os
import re
import shlex
import sys
import warnings
from abc import ABCMeta
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

# Lightning 2.6 still calls names that jsonargparse 4.53 has deprecated.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

from jsonargparse import Namespace, set_parsing_settings
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.profilers import PassThroughProfiler

import datamodules
import lightning_tasks
from datamodules import ImageDataModule
from lightning_tasks import BaseTask, by_hand
from lightning_tasks.callbacks import CompactProgressBar, Picture, PredictionWriter, RunCard
from lightning_tasks.checkpoints import AtomicCheckpointIO, claim_version, newest_version, read_checkpoint

# ABCMeta: a type in Lightning's ModelPruning options, of which jsonargparse 4.53 cannot list the subclasses.
set_parsing_settings(add_print_completion_argument=True, subclasses_disabled=[ABCMeta])


NO_CONTEXT = nullcontext()
# Options that take a class of this project: where to look for it, and what it must be.
CLASSES: dict[str, tuple[ModuleType, type]] = {
    "model": (lightning_tasks, BaseTask),
    "data": (datamodules, ImageDataModule),
    "layers": (by_hand, by_hand.Layer),
    "rule": (by_hand, by_hand.UpdateRule),
}
LAST = Path("checkpoints", "last.ckpt")
HARMLESS_WARNINGS = (
    "Your `IterableDataset` has `__len__` defined",  # a data-free epoch has no worker processes
    "Found .* module.* in eval mode at the start of training",  # the frozen teacher is meant to be
    "It is recommended to use .self.log.*sync_dist=True",  # counts are summed over the ranks before they are logged
    ".*isinstance.treespec, LeafSpec",  # https://github.com/Lightning-AI/pytorch-lightning/issues/21326
)


class ExperimentLogger(TensorBoardLogger):
    """TensorBoard logger that claims its version folder when first asked, so that two runs never share one."""

    @property
    def version(self) -> int | str:
        """Number of the run."""
        if self._version is None:
            self._version = claim_version(Path(self.root_dir))
        return self._version


class NoProfiler(PassThroughProfiler):
    """Measures nothing, at no cost: Lightning's own enters a context manager for each hook of each callback."""

    def profile(self, action_name: str) -> AbstractContextManager:  # type: ignore[override]
        """Give the one context that does nothing."""
        return NO_CONTEXT


class OneLineErrorParser(LightningArgumentParser):
    """Parser that says what is wrong in one line, without the pages of usage before it."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message, with the place of a key that is not accepted, and exit with status 2."""
        if key := re.search(r"Option '(\w+)' is not accepted", message):
            message += f"{find_key(key[1])}; --model.help CLASS and --data.help CLASS list what is"
        unknown_class = rf'Parser key "({"|".join(CLASSES)})":.*Expected a dot import path string: (\S+)'
        if name := re.search(unknown_class, message, re.DOTALL):
            package, base = CLASSES[name[1]]
            classes = [each for each in map(package.__dict__.get, package.__all__) if isinstance(each, type)]
            known = [each.__name__ for each in classes if base in each.__mro__[1:]]
            message = f"{name[1]}: no class {name[2]}; known are {', '.join(known)}"
        self.exit(2, f"error: {' '.join(message.split())}\n")


def find_key(key: str) -> str:
    """Say where a key stands in the config files of the command line, as " (file:line)"."""
    for word in sys.argv:
        path = Path(word.split("=")[-1])
        if path.suffix in (".yaml", ".yml") and path.is_file():
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(rf"\b{key}\s*:", line):
                    return f" ({path}:{number})"
    return ""


class TaskCLI(LightningCLI):
    """LightningCLI with this project's log folders, checkpoints, run card and links between data and task."""

    trainer: Trainer

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that every experiment has."""
        parser.add_argument("--experiment", type=str, default="unnamed", help="Name of the folder under logs/.")
        parser.add_argument(
            "--test_after_fit", type=bool, default=True, help="Test the best checkpoint after fit and write run.json."
        )
        parser.add_argument("--pictures", type=bool, default=True, help="Whether the callbacks that draw are used.")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint_best")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint_last")
        parser.set_defaults(
            {
                "checkpoint_best.monitor": "val/acc",
                "checkpoint_best.mode": "max",
                "checkpoint_best.filename": "best",
                "checkpoint_best.enable_version_counter": False,
                "checkpoint_last.filename": "last",
                "checkpoint_last.enable_version_counter": False,
                # At the end of the epoch, after the schedules: resuming from here repeats an uninterrupted run.
                "checkpoint_last.save_on_train_epoch_end": True,
            }
        )
        for name in ("num_classes", "image_shape", "mean", "std"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Keep the command line for the run card, find the run to go on with, refuse a checkpoint that is damaged."""
        words = args if isinstance(args, list) else sys.argv[1:]
        self.command = re.sub(r" --ckpt_path[= ]last\b", "", f"python cli.py {shlex.join(words)}")
        super().parse_arguments(parser, args)
        self.resumed: Path | None = None
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if path == "last":
            # Not left to Lightning: it looks in the folder of the new run, and on each rank for itself. Not kept in the
            # config either, which would say how to go on with a run instead of how to repeat it.
            self.resumed = self._find_last(self.config[subcommand])
            self.config[subcommand]["ckpt_path"] = None
            if self.resumed is None and subcommand != "fit":
                raise FileNotFoundError("ckpt_path: no run of this experiment and seed has left a last checkpoint")
        elif path:
            if not Path(path).is_file():
                raise FileNotFoundError(f"ckpt_path: no checkpoint at {path}")
            read_checkpoint(Path(path), "ckpt_path")

    def _find_last(self, config: Namespace) -> Path | None:
        """Find the newest run of this experiment and seed that has left a last checkpoint."""
        run = newest_version(
            Path(config.trainer.default_root_dir or "logs", config.experiment),
            lambda run: (run / LAST).is_file() and _seed_of(run) == config.seed_everything,
        )
        print(f"ckpt_path: {run / LAST}" if run else "ckpt_path: no run to go on with")
        return run

    @property
    def config_hash(self) -> str:
        """Equal for runs of one configuration, whatever their seed and folders."""
        return config_hash(*(self._get(self.config, name) for name in ("model", "data", "trainer")))

    def before_fit(self) -> None:
        """Hand the last checkpoint to the trainer."""
        if self.resumed:
            self.config_init[self.subcommand]["ckpt_path"] = str(self.resumed / LAST)

    before_validate = before_test = before_predict = before_fit

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the experiment's log folder and run card."""
        trainer = self._get(self.config_init, "trainer")
        experiment = self._get(self.config_init, "experiment")
        seed = self._get(self.config_init, "seed_everything")
        if trainer.logger in (None, True):
            root = trainer.default_root_dir or "logs"
            goes_on = self.resumed if self.subcommand == "fit" else None  # an evaluation has a folder of its own
            version = int(goes_on.name.removeprefix("version_")) if goes_on else None
            kwargs["logger"] = ExperimentLogger(root, name=experiment, version=version, default_hp_metric=False)
        self.run_card = RunCard(experiment, seed, self.command, self.config_hash)
        given = trainer.callbacks or []
        callbacks = [*(given if isinstance(given, list) else [given]), self.run_card]
        if not self._get(self.config_init, "pictures"):
            callbacks = [callback for callback in callbacks if not isinstance(callback, Picture)]
        if trainer.enable_progress_bar is not False:
            callbacks.append(CompactProgressBar())
        if self.subcommand == "predict":
            callbacks.append(PredictionWriter())
        if kwargs.get("logger") or trainer.logger:
            callbacks.append(LearningRateMonitor())
        if trainer.profiler is None:
            kwargs["profiler"] = NoProfiler()
        plugins = [*(trainer.plugins or []), AtomicCheckpointIO()]
        return super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)

    def after_fit(self) -> None:
        """Test the checkpoint that validation chose, once, and write the run card; no card of a part of the data."""
        trainer = self.trainer
        if trainer.fast_dev_run or not self._get(self.config, "test_after_fit"):  # type: ignore[attr-defined]
            return
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best or None)
        limits = trainer.limit_train_batches, trainer.limit_val_batches, trainer.limit_test_batches
        if limits == (1.0, 1.0, 1.0):
            path = self.run_card.write(trainer)
            if trainer.is_global_zero:
                print(f"run card: {path}")


def _seed_of(run: Path) -> int | None:
    """Read the seed that a run was started with from its saved config."""
    try:
        lines = (run / "config.yaml").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split(":")[1]) for line in lines if line.startswith("seed_everything:")), None)


def config_hash(*parts: Namespace) -> str:
    """Hash a configuration without what does not change its result: folders and what the terminal shows."""
    ignored = {"root", "default_root_dir", "teacher_ckpt", "enable_progress_bar", "enable_model_summary"}

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items() if key not in ignored}
        return [clean(item) for item in value] if isinstance(value, (list, tuple)) else value

    plain = [clean(part.as_dict()) for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


class ParseOnly(TaskCLI):
    """Command line that is parsed and checked; nothing is built, seeded or run."""

    def _set_seed(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def parse(args: list[str]) -> TaskCLI:
    """Parse a command line without running it; the result has `config` and `config_hash`."""
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # the words are not those of this process
    return main(args, cli_class=ParseOnly)


def main(args: ArgsType = None, run: bool = True, cli_class: type[TaskCLI] = TaskCLI) -> TaskCLI:
    """Parse a command line and run it.

    Args:
        args: Words of the command line; those of the process if not given.
        run: Whether to run the subcommand; else only build data, task and trainer, without a subcommand in `args`.
        cli_class: What parses and runs it.

    Returns:
        The CLI object with `trainer`, `model`, `datamodule` and `config`.
    """
    for message in HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    return cli_class(
        BaseTask,
        ImageDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        parser_class=OneLineErrorParser,
        auto_configure_optimizers=False,
        seed_everything_default=42,
        save_config_kwargs={"overwrite": True},
        # The training sampler is the datamodule's own, and every device evaluates all samples: a sampler of Lightning's
        # would repeat some to give each device as many.
        trainer_defaults={"use_distributed_sampler": False},
        args=args,
        run=run,
    )


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, FloatingPointError) as error:
        if sys.flags.dev_mode:  # python -X dev cli.py ... shows the traceback
            raise
        root: BaseException = error
        while root.__cause__ is not None and str(root).startswith("Does not validate"):  # jsonargparse's wrapping
            root = root.__cause__
        sys.exit(f"error: {' '.join(str(root).split())}")
