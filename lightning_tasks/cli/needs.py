"""Runs that a run needs first, as its teacher's: found by seed and configuration, or else trained."""

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from lightning_tasks.cli.needed_run import NeededRun
from lightning_tasks.runs.errors import one_line
from lightning_tasks.runs.folders import BEST, is_first_process
from lightning_tasks.runs.identity import FILES, option_args
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.runs.remedies import find_config, maker
from lightning_tasks.runs.signals import end_in_one_line

CHAIN = "LIGHTNING_TASKS_CHAIN"  # in the environment: configs that need each other, the first one first


def prepare(config: Namespace, words: Sequence[str], parser: ArgumentParser, may_train: bool) -> None:
    """Choose the runs of other experiments that a task's options name, and train those that are missing.

    Where an option names the log folder of an experiment that a config makes, as `teacher_ckpt: logs/teacher` does, its
    run has the seed of the run that needs it. A checkpoint or a run's folder stays what it is.

    Args:
        config: Parsed config of `fit`; its options become the folders of the runs.
        words: The command line; the needed run takes over its hardware and data folders.
        parser: Parser of the command line.
        may_train: Else a missing run is an error.

    Raises:
        FileNotFoundError: If a run is missing that cannot be trained now; names the command.
        ValueError: If it has been made with other options, or configs need each other in a circle.
    """
    options = config.model.get("init_args", {})
    for option in sorted(FILES):
        value = options.get(option)
        place = user_path(value) if isinstance(value, str) else None
        if place is None or place.is_file() or (place / BEST).is_file() or (made := maker(place)) is None:
            continue
        need = NeededRun(option, place, made, config.seed_everything, option_args(words), parser)
        run = need.find()
        if run is None and need.wait():
            run = need.find()
        if run is None:
            if not may_train or not is_first_process() or _is_one_of_many():
                raise FileNotFoundError(
                    f"{option}: no run of {made[0]} with seed {config.seed_everything} in {place};"
                    f" {PROGRAM} {shlex.join([*need.words, *need.resuming])} makes it"
                )
            chain = _chain(need, find_config(config.experiment))
            _require_buildable(config, parser)
            with need.alone():
                run = need.find()
                if run is None:
                    _train(need, chain)
                    run = need.find()
        if run is not None:
            options[option] = str(run)


def _require_buildable(config: Namespace, parser: ArgumentParser) -> None:
    """Build the parts of a run, so that options that it cannot have are refused before another trains for it.

    Where the other is to be forked, in a fork as well: it would hang if threads of this process had computed.
    """
    trial = config.clone()
    trial.trainer.logger = None  # some start a run of their own
    if "recogniser_ckpt" in trial.model.init_args:  # whose file is read at once
        trial.model.init_args.recogniser = trial.model.init_args.recogniser_ckpt = None
    whole = Namespace(subcommand="fit", fit=trial)
    if not _forks():
        parser.instantiate_classes(whole)
        return
    process = get_context("fork").Process(target=_build, args=(parser, whole))
    process.start()
    process.join()
    _require_success(process)


def _build(parser: ArgumentParser, config: Namespace) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes to both, and the other says so
    one_line(lambda: parser.instantiate_classes(config))


def _forks() -> bool:
    """Say whether a fork may train: it has imported everything, but cannot use GPUs that this process has asked for."""
    return "fork" in get_all_start_methods() and not torch.cuda.is_available()


def _require_success(process: BaseProcess) -> None:
    """End as a process has ended, if it has not ended well."""
    if process.exitcode:
        sys.exit(process.exitcode if process.exitcode > 0 else 128 - process.exitcode)


def _is_one_of_many() -> bool:
    """Say whether somebody else has started the processes of this run, who are to train one run together."""
    return TorchElasticEnvironment.detect() or SLURMEnvironment.detect()


def _chain(need: NeededRun, needed_by: Path | None) -> list[str]:
    """Give the configs that lead to a needed run.

    Raises:
        ValueError: If it needs one of them in turn.
    """
    chain = [each for each in (*os.environ.get(CHAIN, "").split(os.pathsep), str(needed_by or "")) if each]
    if str(need.config) in chain:
        raise ValueError(f"{need.option}: configs need each other: {' -> '.join([*chain, str(need.config)])}")
    return chain


def _train(need: NeededRun, chain: list[str]) -> None:
    """Train it, or what is left of it, in a process of its own, which ends this one if it does not end well."""
    how = "is unfinished; resuming it first" if need.resuming else "has not been run; training it first"
    print(f"{need.option}: {need.config} with seed {need.seed} {how}", flush=True)
    words = [*need.words, *need.resuming]
    context: Any = get_context("fork" if _forks() else "spawn")
    process = context.Process(target=_fit, args=(words, os.pathsep.join(chain)))
    process.start()
    # Ctrl-C comes to both, and the needed run saves itself; SIGTERM is handed on.
    handlers = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: lambda *_: process.terminate()}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}  # type: ignore[arg-type]
    process.join()
    for number, handler in former.items():
        signal.signal(number, handler)
    _require_success(process)


def _fit(words: list[str], chain: str) -> None:
    """Run a command line; the process's own, for processes that Lightning starts by it."""
    os.environ[CHAIN] = chain
    end_in_one_line()
    sys.argv[1:] = words
    from lightning_tasks.cli import command

    command()
