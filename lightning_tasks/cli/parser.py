"""The parser of `fit`, `validate`, `test` and `predict`, for those who run a command and those who only read one."""

import functools
import os
from abc import ABCMeta
from collections.abc import Collection
from typing import Literal

# Lightning 2.6 still calls names that jsonargparse 4.53 has deprecated.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

import pytorch_lightning
from jsonargparse import ActionConfigFile, set_parsing_settings
from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

import datamodules
import lightning_tasks
from datamodules import BaseDataModule
from lightning_tasks import by_hand
from lightning_tasks.base import BaseTask
from lightning_tasks.cli.any_class import take_any
from lightning_tasks.cli.unique_keys import require_unique_keys_in_configs
from lightning_tasks.networks import FACTORY_ARGS, ImageNetwork
from lightning_tasks.runs.errors import OneLineErrorParser
from lightning_tasks.runs.seed import DEFAULT_SEED

Parsers = tuple[LightningArgumentParser, dict[str, LightningArgumentParser], dict[str, list[str]]]


def build_parsers(subcommands: Collection[str]) -> Parsers:
    """Build the parser.

    Args:
        subcommands: Subcommands to build, since each takes a while; without any, it parses a task's options alone.

    Returns:
        The parser of a command line, that of each subcommand, and the options of each that go to the trainer's method.
    """
    _set_up()
    if not subcommands:
        return _add_arguments(_empty()), {}, {}
    main = _empty()
    parsers, arguments = {}, {}
    commands = main.add_subcommands()
    for name, skip in LightningCLI.subcommands().items():
        if name in subcommands:
            parsers[name] = _add_arguments(_empty())
            arguments[name] = parsers[name].add_method_arguments(Trainer, name, skip={*skip})
            commands.add_subcommand(name, parsers[name])
    return main, parsers, arguments


@functools.cache
def task_parser() -> LightningArgumentParser:
    """Give the parser with which `runs.identity` reads commands, runs and run cards."""
    return build_parsers(["fit"])[0]


def _empty() -> LightningArgumentParser:
    parser = OneLineErrorParser(dump_header=[f"pytorch_lightning=={pytorch_lightning.__version__}"])
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="Path to a configuration file in YAML or JSON.")
    return parser


def _add_arguments(parser: LightningArgumentParser) -> LightningArgumentParser:
    """Add the options that every experiment has."""
    parser.add_argument(
        "--seed_everything", type=bool | int, default=DEFAULT_SEED, help="Seed of the run; true draws one."
    )
    parser.add_lightning_class_args(Trainer, "trainer")
    # The training sampler is the datamodule's own, and every device evaluates all samples.
    parser.set_defaults({"trainer.use_distributed_sampler": False})
    parser.add_lightning_class_args(BaseTask, "model", subclass_mode=True)
    parser.add_lightning_class_args(BaseDataModule, "data", subclass_mode=True)
    parser.add_argument("--experiment", type=str, default="unnamed", help="Name of the folder under logs/.")
    parser.add_argument("--test_after_fit", type=bool, default=True, help="Test the best weights, write run.json.")
    parser.add_argument("--prepare", type=bool, default=True, help="Train a missing teacher or recogniser first.")
    parser.add_argument("--plots", type=bool, default=True, help="Use the callbacks that draw plots.")
    parser.add_argument("--plot_id", type=str | None, help="Text printed on every plot, such as your name.")
    parser.add_argument(
        "--checkpoint_best.monitor",
        type=str | None,
        help="Metric that selects the best checkpoint; default: the task's.",
    )
    parser.add_argument(
        "--checkpoint_best.mode", type=Literal["min", "max"] | None, help="max if higher is better, min if lower is."
    )
    parser.link_arguments("data.data_spec", "model.init_args.data_spec", apply_on="instantiate")
    return parser


@functools.cache
def _set_up() -> None:
    """Set what jsonargparse has for the whole process: nothing is patched by an import."""
    # ABCMeta: a type in Lightning's ModelPruning options, of which jsonargparse 4.53 cannot list the subclasses.
    set_parsing_settings(add_print_completion_argument=True, subclasses_disabled=[ABCMeta])
    require_unique_keys_in_configs()
    take_any(ImageNetwork, FACTORY_ARGS)
    for name in lightning_tasks.__all__:  # classes are found by their short names once they are imported
        getattr(lightning_tasks, name)
    OneLineErrorParser.classes = {"model": (lightning_tasks, BaseTask), "data": (datamodules, BaseDataModule)}
    OneLineErrorParser.classes |= dict.fromkeys(("network", "teacher", "student"), (lightning_tasks, ImageNetwork))
    OneLineErrorParser.classes |= {"layers": (by_hand, by_hand.Layer), "rule": (by_hand, by_hand.UpdateRule)}
