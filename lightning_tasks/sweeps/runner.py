"""One run of a sweep after another, in processes of their own; on this machine or, pickled, on another."""

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import IO

from filelock import FileLock

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.runs.cards import load_card
from lightning_tasks.runs.checkpoints import file_hash, find_checkpoint
from lightning_tasks.runs.folders import BEST, CARD, LAST
from lightning_tasks.runs.identity import Configuration, config_hash, hash_name, read_command, used_files
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.resume import runs_of
from lightning_tasks.sweeps.plan import Cell, Sweep
from lightning_tasks.sweeps.report import Card

PACKAGES = Path(__file__).parents[2]  # where this package is imported from

_parsing = threading.Lock()
# Of this process, which may serve several sweeps: (Runner.id, process).
_processes: set[tuple[str, subprocess.Popen]] = set()
_stopped: set[str] = set()


class Runner:
    """Runs the cells of a sweep.

    Args:
        sweep: The sweep.
        logs: Folder of the runs.
        extra: Words for the command line of every run.

    Attributes:
        hashes: Hash of the configuration of each cell, by its folder.
        id: Tells its runs from those of another sweep.

    Raises:
        ValueError: If the command line of a cell is not valid.
    """

    def __init__(self, sweep: Sweep, logs: Path, extra: list[str]) -> None:
        self.sweep = sweep
        self.logs = logs
        self.folder = Path.cwd()  # on another machine the process may be elsewhere
        self.id = uuid.uuid4().hex
        self.extra = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
        self.extra += ["--plots=false", f"--trainer.default_root_dir={logs}", *extra]
        commands = {cell.folder: [*sweep.command(cell), *self.extra] for cell in sweep.cells()}
        self.configurations = {folder: read_command(task_parser(), words) for folder, words in commands.items()}
        self.hashes = {folder: config_hash(each) for folder, each in self.configurations.items()}

    def __call__(self, cell: Cell, seed: int) -> tuple[Card, str]:
        """Run one cell with one seed, unless it is done.

        Returns:
            The run card, and how long it took.

        Raises:
            RuntimeError: If the run failed; with the last line that it wrote.
        """
        if not self.folder.is_dir():
            raise RuntimeError(f"{socket.gethostname()} has no folder {self.folder}, which all machines must share")
        start = time.perf_counter()
        log = self.logs / self.sweep.experiment(cell) / f"seed_{seed}.log"
        path = self.folder / log
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".starter.lock")), open(path, "a") as file:
            with FileLock(running := path.with_suffix(".run.lock")):
                pass  # a run whose starter has died, as a worker may, is waited for
            card, unfinished = self._look(cell, seed)
            if card:
                return card, "done before"
            words = [*self.sweep.command(cell), *self.extra, f"--seed_everything={seed}"]
            if unfinished:
                words.append("--ckpt_path=last")
            file.truncate(0)
            code = self._execute([str(running), *words], file)
        lines = path.read_text().strip().splitlines()
        if code:
            raise RuntimeError(f"{lines[-1] if lines else f'exit status {code}'} ({log})")
        card, _ = self._look(cell, seed)
        if card is None:
            raise RuntimeError(f"the run left no card, as runs do of a part of the data or without a test ({log})")
        return card, f"{time.perf_counter() - start:.0f} s"

    def _execute(self, words: list[str], output: IO[str]) -> int:
        """Run sweeps.child, which ends with this process, with a lock and a command line; give its exit status."""
        command = [sys.executable, "-P", "-m", "lightning_tasks.sweeps.child", *words]
        paths = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process:
            _processes.add((self.id, process))
            if self.id in _stopped:
                process.terminate()
            code = process.wait()
            _processes.discard((self.id, process))
        return code

    def _look(self, cell: Cell, seed: int) -> tuple[Card | None, bool]:
        """Find the newest run of this cell and seed: its card, or else whether there is one to resume."""
        experiment = self.folder / self.logs / self.sweep.experiment(cell)
        with _parsing:
            for run, theirs in runs_of(experiment, seed, task_parser()):
                card = load_card(run / CARD)
                if card and not self._used_the_same(card, self.configurations[cell.folder]):
                    continue
                if (card or (run / LAST).is_file()) and config_hash(theirs) == self.hashes[cell.folder]:
                    # The hash of today: a new option with a default may have changed it since.
                    return card and card | {"config_hash": config_hash(theirs)}, card is None
        return None, False

    def _used_the_same(self, card: Card, wanted: Configuration) -> bool:
        """Say whether a run had the teacher or recogniser that its options mean now."""
        places = {option: self.folder / user_path(path) for option, path in used_files(wanted).items()}
        return all(
            card.get(hash_name(option)) == file_hash(find_checkpoint(str(place), option))
            for option, place in places.items()
            if place.is_file() or (place / BEST).is_file()
        )

    def stop(self) -> None:
        """End the runs of this sweep that this process has under way, for good; their checkpoints stay."""
        _stopped.add(self.id)
        for owner, process in list(_processes):
            if owner == self.id:
                process.terminate()
