"""What a finished fit says last: its result, where its files are, and what can be done with them."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from rich.console import Console
from rich.table import Table

from runs.folders import CARD, versions

BESIDE = ("", "_ema", "_teacher")  # endings of what is shown beside a metric of the headline


def result(card: dict[str, Any]) -> Table:
    """Make a table of the headline's metrics in the test, and in the validation of the same weights.

    Args:
        card: Of the run.
    """
    of = f"epoch {card['best_epoch']}/{card['epochs']}, the best {card['monitor']}" if "best_epoch" in card else ""
    table = Table(of, box=None, pad_edge=False)
    for stage in ("test", "validation"):
        table.add_column(stage, justify="right")
    metrics = card["metrics"]
    for name in [f"{metric}{ending}" for metric in card["headline"] for ending in BESIDE]:
        if name in metrics:
            values = (metrics.get(each) for each in (name, name.replace("test/", "val/", 1)))
            table.add_row(name.removeprefix("test/"), *("" if each is None else f"{each:#.4g}" for each in values))
    return table


def print_outcome(card: dict[str, Any], run: Path) -> None:
    """Print the table, and where pictures and card are.

    Args:
        card: Of the run.
        run: Its folder.
    """
    Console().print(result(card))
    if "partial" in card:
        print("a part of the data only, so no result")
    print_figures(run)
    print(f"run card: {os.path.relpath(run / CARD)}", flush=True)


def print_figures(run: Path) -> None:
    """Print the folder of the figures in a run's folder, if there are any."""
    if any(run.glob("figures/*.png")):
        print(f"figures: {os.path.relpath(run / 'figures')}", flush=True)


def after_a_run(run: Path, kind: str, teacher: str | None, loggers: Iterable[Logger]) -> list[str]:
    """List the commands that make sense after a run.

    Args:
        run: Its folder.
        kind: What its network can be used with: the module "export" or "live"; "" for neither.
        teacher: Checkpoint of its teacher, if it has one.
        loggers: Of the run.
    """
    here = os.path.relpath(run)
    commands = [f"python -m {kind} --ckpt {here}"] if kind else []
    others = [Path(teacher).parent.parent] if teacher else versions(run.parent)
    if other := next((each for each in others if not each.samefile(run) and (each / CARD).is_file()), None):
        commands.append(f"python -m results --compare {here} {os.path.relpath(other)}")
    if any(isinstance(each, TensorBoardLogger) for each in loggers):
        commands.append(f"tensorboard --logdir {os.path.relpath(run.parent)}")
    return commands
