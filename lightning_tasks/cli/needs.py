"""Runs that a run needs first, as its teacher's: found by seed and configuration, or else trained."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from lightning_tasks.runs.cards import load_card
from lightning_tasks.runs.folders import BEST, CARD, LAST, LOCK, is_first_process, versions
from lightning_tasks.runs.identity import FILES, differences, option_args, read_command, read_run
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.runs.remedies import LOGS, find_config, how_to_make, maker
from lightning_tasks.runs.signals import end_in_one_line

HARDWARE = {"trainer.devices", "trainer.num_nodes", "trainer.strategy"}
HANDED_ON = (
    *("--trainer.accelerator=", "--trainer.devices=", "--trainer.strategy=", "--trainer.enable_progress_bar="),
    *("--data.root=", "--plots=", "--plot_id="),
)
CHAIN = "LIGHTNING_TASKS_CHAIN"  # in the environment: configs that need each other, the first one first


def prepare(config: Namespace, words: Sequence[str], parser: ArgumentParser, may_train: bool) -> None:
    """Choose the runs of other experiments that a task's options name, and train those that are missing.

    Where an option names the log folder of an experiment that a config makes, as `teacher_ckpt: logs/teacher` does, its
    run has the seed of the run that needs it. A checkpoint or a run's folder stays what it is.

    Args:
        config: Of `fit`; its options become the folders of the runs.
        words: Of the command line; hardware and folders of the data are those of the needed run too.
        parser: Of the command line.
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
        need = _Need(option, place, made, config.seed_everything, option_args(words), parser)
        run = need.find()
        if run is None and need.wait():
            run = need.find()
        if run is None:
            if not may_train or not is_first_process() or _is_one_of_many():
                raise FileNotFoundError(
                    f"{option}: no run of {made[0]} with seed {config.seed_everything} in {place}{how_to_make(place)}"
                )
            need.train(find_config(config.experiment))
            run = need.find()
        if run is not None:
            options[option] = str(run)


def _is_one_of_many() -> bool:
    """Say whether somebody else has started the processes of this run, who are to train one run together."""
    return TorchElasticEnvironment.detect() or SLURMEnvironment.detect()


class _Need:
    """A run of another experiment."""

    def __init__(
        self, option: str, place: Path, made: tuple[Path, Path], seed: Any, words: list[str], parser: ArgumentParser
    ) -> None:
        self.option, self.place, self.seed, self.parser = option, place, seed, parser
        self.config, logs = made
        self.words = ["fit", f"--config={self.config}", *(word for word in words if word.startswith(HANDED_ON))]
        self.words.append(f"--seed_everything={seed}")
        if logs.resolve() != LOGS.resolve():
            self.words.append(f"--trainer.default_root_dir={logs}")
        try:
            self.wanted = read_command(parser, self.words)
        except ValueError as error:
            raise ValueError(f"{option}: {self.config}: {error}") from None
        self.begun: list[Path] = []

    def find(self) -> Path | None:
        """Find the newest finished run; notice unfinished ones.

        Raises:
            ValueError: If there are finished runs of this seed, but with other options only.
        """
        others: dict[Path, dict[str, tuple[Any, Any]]] = {}
        self.begun = []
        for run in versions(self.place):
            with contextlib.suppress(ValueError, OSError):  # what cannot be read is no run of this experiment
                card = load_card(run / CARD)
                if card and card.get("seed") != self.seed:
                    continue
                seed, theirs = read_run(self.parser, run)
                if seed != self.seed:
                    continue
                differing = {
                    name: values for name, values in differences(theirs, self.wanted).items() if name not in HARDWARE
                }
                if card is None and not differing:
                    self.begun.append(run)
                elif card and "partial" not in card and (run / BEST).is_file():
                    if not differing:
                        return run
                    others[run] = differing
        if others and not self.begun:
            run, differing = next(iter(others.items()))
            listed = "; ".join(f"{name} {there} there, {here} here" for name, (there, here) in differing.items())
            raise ValueError(
                f"{self.option}: {run} was made with other options than {self.config} has now ({listed});"
                f" --model.{self.option}={run} takes it, {PROGRAM} {' '.join(self.words)} makes another"
            )
        return None

    def wait(self) -> bool:
        """Wait for another process that trains it at the moment; say whether there was one."""
        for run in self.begun:
            lock = FileLock(run / LOCK)
            try:
                with lock.acquire(timeout=0):
                    pass
            except Timeout:
                print(f"{self.option}: another process trains {run}; waiting for it", flush=True)
                with lock:
                    return True
        return False

    def train(self, needed_by: Path | None) -> None:
        """Train it, or what is left of it, in a process of its own, which ends this one if it does not end well.

        Raises:
            ValueError: If it needs this one in turn.
        """
        chain = [each for each in (*os.environ.get(CHAIN, "").split(os.pathsep), str(needed_by or "")) if each]
        if str(self.config) in chain:
            raise ValueError(f"{self.option}: configs need each other: {' -> '.join([*chain, str(self.config)])}")
        begun = any((run / LAST).is_file() for run in self.begun)
        how = "is unfinished; resuming it first" if begun else "has not been run; training it first"
        print(f"{self.option}: {self.config} with seed {self.seed} {how}", flush=True)
        words = [*self.words, "--ckpt_path=last"] if begun else self.words
        # A fork has imported everything; not one of a process that may have asked the driver for its GPUs.
        forks = "fork" in get_all_start_methods() and not torch.cuda.is_available()
        context: Any = get_context("fork" if forks else "spawn")
        process = context.Process(target=_fit, args=(words, os.pathsep.join(chain)))
        process.start()
        # Ctrl-C comes to both, and the needed run saves itself; SIGTERM is handed on.
        handlers = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: lambda *_: process.terminate()}
        former = {number: signal.signal(number, handler) for number, handler in handlers.items()}  # type: ignore[arg-type]
        process.join()
        for number, handler in former.items():
            signal.signal(number, handler)
        if process.exitcode:
            sys.exit(process.exitcode if process.exitcode > 0 else 128 - process.exitcode)


def _fit(words: list[str], chain: str) -> None:
    """Run a command line; the process's own, for processes that Lightning starts by it."""
    os.environ[CHAIN] = chain
    end_in_one_line()
    sys.argv[1:] = words
    from lightning_tasks.cli import command

    command()
