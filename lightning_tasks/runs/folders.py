"""Log folders: `<logs>/<experiment>/version_N`, one for each run."""

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock, Timeout
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_tasks.runs.paths import shown

CARD = "run.json"
CONFIG = "config.yaml"
FORMER_CARD = "run.before.json"  # of a run before it was trained longer
BEST = Path("checkpoints", "best.ckpt")
LAST = Path("checkpoints", "last.ckpt")
LOCK = "run.lock"
BEFORE_THE_START = (LOCK, CONFIG, "hparams.yaml", "events.out.tfevents.*")  # what is written before anything is done


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of a run's files; to be called on all ranks, since they agree on it by a broadcast."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def own_run_folder(trainer: Trainer) -> Path:
    """Return the same on rank zero, without waiting for the others, who may be gone."""
    loggers = trainer.loggers
    named = (
        loggers[0].log_dir if loggers and hasattr(loggers[0], "log_dir") else loggers[0].save_dir if loggers else None
    )
    return Path(named or trainer.default_root_dir)


def is_first_process() -> bool:
    """Say whether this process is rank zero, also before Lightning knows that there are other machines."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return rank_zero_only.rank == 0 and node == "0"  # type: ignore[attr-defined]


def require_experiment(name: str) -> None:
    """Refuse a name that is no folder below the log folder.

    Raises:
        ValueError: If a part is empty, ".", ".." or "null", or holds what is no letter, digit or one of _ . + - , =
    """
    parts = name.split("/")
    if not all(re.fullmatch(r"[\w.+,=-]+", part) for part in parts) or {".", "..", "null"} & set(parts):
        raise ValueError(
            f"experiment: {name!r} cannot name a folder below the logs: use letters, digits and _ . + - , = in parts"
            " divided by /"
        )


def lock_run(run: Path) -> FileLock:
    """Hold a run's folder, until the lock is released or this process ends, however it does.

    Raises:
        ValueError: If another process holds it.
    """
    lock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{shown(run)}: another process trains this run") from None
    return lock


def remove_if_not_begun(run: Path, logs: Path, loggers: Iterable[Logger]) -> None:
    """Remove the folder of a run in which there is nothing yet, and those of its experiment that are empty then.

    Args:
        run: The folder.
        logs: Folder of all experiments, above it, which stays.
        loggers: Loggers of the run; they are closed.
    """
    run, logs = run.resolve(), logs.resolve()
    found = [path for path in run.rglob("*") if path.is_file()]
    if logs not in run.parents or not all(any(map(path.match, BEFORE_THE_START)) for path in found):
        return
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            with contextlib.suppress(OSError):  # of a full disk, said before
                logger.experiment.close()  # else it would go on writing
    shutil.rmtree(run, ignore_errors=True)
    for folder in itertools.takewhile(lambda each: each != logs, run.parents):
        with contextlib.suppress(OSError):  # one that is not empty
            folder.rmdir()


def versions(experiment: Path) -> list[Path]:
    """List the `version_N` folders of an experiment, the newest first."""
    found = (path for path in experiment.glob("version_*") if re.fullmatch(r"version_\d+", path.name))
    return sorted(found, key=lambda path: int(path.name.removeprefix("version_")), reverse=True)


def newest_version(experiment: Path, accept: Callable[[Path], bool]) -> Path | None:
    """Find the run with the highest number among the folders of an experiment that `accept` says yes to."""
    return next(filter(accept, versions(experiment)), None)


def claim_version(experiment: Path) -> int:
    """Make the next free `version_N` folder of an experiment and return N; two processes never get the same.

    On ranks other than zero nothing is made: they use rank zero's folder, whose name Lightning broadcasts.
    """
    if not is_first_process():
        return 0
    newest = newest_version(experiment, Path.is_dir)
    version = 0 if newest is None else int(newest.name.removeprefix("version_")) + 1
    while True:
        try:
            (experiment / f"version_{version}").mkdir(parents=True)
            return version
        except FileExistsError:
            version += 1
