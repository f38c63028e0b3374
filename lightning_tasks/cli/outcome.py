"""What a finished fit says last: its result, where its files are, and what can be done with them."""

import os
from pathlib import Path
from shlex import quote
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from lightning_tasks.callbacks import RunCard
from lightning_tasks.cli.needs import CHAIN
from lightning_tasks.networks import ImageNetwork
from lightning_tasks.runs.folders import CARD, CONFIG, versions
from lightning_tasks.runs.paths import shown
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.sketch import SketchNetwork

BESIDE = ("", "_ema", "_teacher")  # endings of what is shown beside a metric of the headline


def result(card: dict[str, Any]) -> Table:
    """Make a table of the headline's metrics in the test, and in the validation of the same weights.

    Args:
        card: Card of the run.
    """
    of = f"best {card['monitor']}: epoch {card['best_epoch']}/{card['epochs']}" if "best_epoch" in card else ""
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
    """Print the table, and where plots and card are.

    Args:
        card: Card of the run.
        run: Its folder.
    """
    Console().print(result(card))
    if "partial" in card:
        print("trained or tested on only part of the data: not a result")
    print_figures(run)
    print(f"run card: {shown(run / CARD)}", flush=True)


def print_figures(run: Path) -> None:
    """Print the folder of the figures in a run's folder, if there are any."""
    if any(run.glob("figures/*.png")):
        print(f"figures: {shown(run / 'figures')}", flush=True)


def next_commands(run: Path, best: str, tested: bool, card: RunCard, trainer: Trainer) -> list[str]:
    """List the commands that make sense after a fit.

    Args:
        run: The run's folder.
        best: The best checkpoint, if there is one.
        tested: Whether it has been tested.
        card: Card of the run.
        trainer: Trainer of the run.
    """
    if os.environ.get(CHAIN):  # the run that needs this one comes next
        return []
    here = quote(shown(run))
    if not tested:
        config = quote(shown(run / CONFIG))
        return [f"{PROGRAM} test --config {config} --ckpt_path {quote(shown(best))}"] if best else []
    task: Any = trainer.lightning_module
    teacher = card.run_facts.get("teacher_ckpt")
    used_by = {"export": ImageNetwork, "live": SketchNetwork}
    network = next(iter(task.networks.values()))
    commands = [f"{PROGRAM} {name} --ckpt {here}" for name, kind in used_by.items() if isinstance(network, kind)]
    others = [Path(teacher).parent.parent] if teacher else versions(run.parent)
    if other := next((each for each in others if (each / CARD).is_file() and not each.samefile(run)), None):
        commands.append(f"{PROGRAM} compare {here} {quote(shown(other))}")
    if any(isinstance(each, TensorBoardLogger) for each in trainer.loggers):
        commands.append(f"tensorboard --logdir {quote(shown(run.parent))}")
    return commands
