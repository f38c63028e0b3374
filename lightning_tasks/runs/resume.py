"""Which run `--ckpt_path last` means, and which checkpoint `best`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

from lightning_tasks.runs.cards import finished_runs, load_card
from lightning_tasks.runs.checkpoints import file_hash, find_checkpoint
from lightning_tasks.runs.folders import BEST, CARD, LAST, versions
from lightning_tasks.runs.identity import Configuration, differences, hash_name, read_run, used_files
from lightning_tasks.runs.remedies import how_to_make

LONGER = "trainer.max_epochs"


def checkpoint_of(word: str, experiment: Path, seed: Any, parser: ArgumentParser) -> Path:
    """Find the checkpoint that a word means in an evaluation, and print it.

    Args:
        word: "last", the last checkpoint of the newest run of a seed; or "best", the one that the run's test used, of
            the newest run that is finished (of a part of the data only if there is no whole one), or else of the
            newest.
        experiment: Folder of the experiment's runs.
        seed: Seed of the run.
        parser: Parser of the command line.

    Raises:
        FileNotFoundError: If there is no run.
    """
    runs = [run for run, _ in runs_of(experiment, seed, parser) if (run / LAST).is_file()]
    if not runs:
        raise FileNotFoundError(
            f"ckpt_path: no run of this experiment and seed has left a last checkpoint that can be read in {experiment}"
            f"{how_to_make(experiment)}"
        )
    if word == "best":
        runs = finished_runs(runs) or runs
    best = runs[0] / BEST
    path = best if word == "best" and best.is_file() else runs[0] / LAST  # without validations the last is tested
    print(f"ckpt_path: {path}")
    return path


def run_to_resume(experiment: Path, seed: Any, ours: Configuration, parser: ArgumentParser) -> Path | None:
    """Find the newest run of a seed and a configuration that has left a last checkpoint.

    One that was shorter but else the same (`max_epochs`) may be resumed too. One that is finished ends the
    process: its run card stands.

    Args:
        experiment: Folder of the experiment's runs.
        seed: Seed of the run to be resumed.
        ours: Its configuration.
        parser: Parser of the command line.

    Returns:
        The run's folder; None if no run has that seed.

    Raises:
        ValueError: If there are runs with that seed, but of other configurations only; says what differs.
    """
    found = {
        run: differences(theirs, ours) | _other_files(run, theirs, ours)
        for run, theirs in runs_of(experiment, seed, parser)
        if (run / LAST).is_file()
    }
    if not found:
        print("ckpt_path: no run to resume")
        return None
    for run, differing in found.items():
        if not differing:
            if load_card(run / CARD) is not None:
                print(f"ckpt_path: {run} is finished, and its run card stands; a greater --{LONGER} trains it longer")
                sys.exit()
            print(f"ckpt_path: {run / LAST}")
            return run
    for run, differing in found.items():
        if _only_longer(differing):
            print("ckpt_path: {}, trained on from {} to {} epochs".format(run / LAST, *differing[LONGER]))
            return run
    run, differing = next(iter(found.items()))
    listed = "; ".join(f"{option} {there} there, {here} here" for option, (there, here) in differing.items())
    raise ValueError(
        f"ckpt_path last: {run} was made with other options ({listed}); give the same to resume it, or start anew"
        " without ckpt_path"
    )


def runs_of(experiment: Path, seed: Any, parser: ArgumentParser) -> Iterator[tuple[Path, Configuration]]:
    """Give the runs of a seed that can be read, and their configurations, the newest first."""
    for run in versions(experiment):
        with contextlib.suppress(ValueError, OSError):  # what cannot be read is no run of this experiment
            their_seed, theirs = read_run(parser, run)
            if (type(their_seed), their_seed) == (type(seed), seed):  # true draws one, and equals 1
                yield run, theirs


def _other_files(run: Path, theirs: Configuration, ours: Configuration) -> dict[str, tuple[Any, Any]]:
    """Compare teachers and recognisers of two runs; the same words mean the file that the run has started with."""
    there, here = used_files(theirs), used_files(ours)
    named = {option: path for option, path in here.items() if there.get(option) != path}
    if not named:
        return {}
    facts = torch.load(run / LAST, weights_only=True, map_location="cpu", mmap=True).get("run_facts", {})
    return {
        f"model.{option}": (there.get(option), path)
        for option, path in named.items()
        if facts.get(hash_name(option)) != file_hash(find_checkpoint(path, option))
    }


def _only_longer(found: dict[str, tuple[Any, Any]]) -> bool:
    there, here = found.get(LONGER, (None, None))
    return len(found) == 1 and isinstance(there, int) and isinstance(here, int) and there < here
