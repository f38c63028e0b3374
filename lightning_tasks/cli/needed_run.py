"""A run that another run needs, as that of its teacher."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from jsonargparse import ArgumentParser

from lightning_tasks.runs.cards import load_card
from lightning_tasks.runs.folders import BEST, CARD, LAST, LOCK
from lightning_tasks.runs.identity import Configuration, differences, read_command
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.runs.remedies import LOGS
from lightning_tasks.runs.resume import runs_of

HARDWARE = {"trainer.devices", "trainer.num_nodes", "trainer.strategy"}
HANDED_ON = (
    *("--trainer.accelerator=", "--trainer.devices=", "--trainer.strategy=", "--trainer.enable_progress_bar="),
    *("--data.root=", "--plots=", "--plot_id="),
)
# Both runs need the same classes, and a test set that neither learns from.
SAME_DATA = tuple(
    f"--data.{option}="
    for option in (
        *("num_classes", "words", "split", "split_seed"),
        *("drawings_per_word", "recognized_only", "test_fraction", "recogniser_fraction"),
    )
)


def _option(word: str) -> str:
    """Name of the option in `--data.NAME=value`."""
    return word.partition("=")[0].rpartition(".")[2]


class NeededRun:
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
        self.wanted = self._read()
        data_options = self.wanted.get("data", {}).get("init_args", {})
        # Of drawings, all shares decide which are for the test.
        decides = (*SAME_DATA, *(["--data.val_fraction="] if "recogniser_fraction" in data_options else []))
        same = [word for word in words if word.startswith(decides) and _option(word) in data_options]
        if same:
            self.words += same
            self.wanted = self._read()
        self.begun: list[Path] = []

    def _read(self) -> Configuration:
        try:
            return read_command(self.parser, self.words)
        except ValueError as error:
            raise ValueError(f"{self.option}: {self.config}: {error}") from None

    def find(self) -> Path | None:
        """Find the newest finished run; notice unfinished ones.

        Raises:
            ValueError: If there are finished runs of this seed, but with other options only.
        """
        others: dict[Path, dict[str, tuple[Any, Any]]] = {}
        self.begun = []
        for run, theirs in runs_of(self.place, self.seed, self.parser):
            card = load_card(run / CARD)
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
                f" --model.{self.option}={run} takes it, {PROGRAM} {shlex.join(self.words)} makes another"
            )
        return None

    @property
    def resuming(self) -> list[str]:
        """What resumes an unfinished run, if there is one."""
        return ["--ckpt_path=last"] if any((each / LAST).is_file() for each in self.begun) else []

    def wait(self) -> bool:
        """Wait for another process that trains it at the moment; say whether there was one."""
        for run in self.begun:
            with self._held(FileLock(run / LOCK), run) as waited:
                if waited:
                    return True
        return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others that need the same run, as of a sweep, from training it too; wait for one that does so."""
        self.place.mkdir(parents=True, exist_ok=True)
        with self._held(FileLock(self.place / f".seed_{self.seed}.lock"), f"{self.place} with seed {self.seed}"):
            yield

    @contextmanager
    def _held(self, lock: FileLock, what: Path | str) -> Iterator[bool]:
        """Hold a lock; give whether it had to be waited for."""
        try:
            lock.acquire(timeout=0)
            waited = False
        except Timeout:
            print(f"{self.option}: another process trains {what}; waiting for it", flush=True)
            lock.acquire()
            waited = True
        try:
            yield waited
        finally:
            lock.release()
