"""Data-free distillation on the embedded digits, from nothing to a table: `make quickstart`.

Trains a teacher, distils a student from it without data, and says what came of it. A finished part is not run again, an
interrupted one goes on where it was.
"""

import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli import TaskCLI, main
from runs.cards import load_card
from runs.errors import one_line
from runs.folders import CARD, newest_version, versions

ROOT = Path(__file__).parent
LOGS = ROOT / "logs"
PARTS = {
    "teacher_digits": "1 of 2: a teacher learns from scikit-learn's handwritten digits",
    "dfad_plus_digits": "2 of 2: a student of a fifth of its size learns from it, and sees no digit",
}


class Part(TaskCLI):
    """The command line, as a part of something longer."""

    def say_next(self, best: str) -> None:
        """Say nothing: the quick start goes on itself."""


def finished(experiment: str) -> Path | None:
    """Find the newest run of an experiment that has a run card."""
    return newest_version(LOGS / experiment, lambda run: load_card(run / CARD) is not None)


def train(experiment: str, *words: str) -> Path:
    """Run an experiment unless it has been; return its folder."""
    run = finished(experiment)
    if run is None:
        print(f"\n{PARTS[experiment]}\n", flush=True)
        config = ROOT / "configs" / f"{experiment}.yaml"
        words = (f"--config={config}", f"--trainer.default_root_dir={LOGS}", *words)
        begun = versions(LOGS / experiment)
        main(["fit", *words, *(["--ckpt_path=last"] if begun else [])], cli_class=Part)
        run = finished(experiment)
    assert run is not None
    return run


def read(run: Path) -> dict[str, Any]:
    """Read the card of a finished run."""
    card = load_card(run / CARD)
    assert card is not None
    return card


def quickstart() -> None:
    """Run both experiments and print the table."""
    start = time.perf_counter()
    student = finished("dfad_plus_digits") or train(
        "dfad_plus_digits", f"--model.teacher_ckpt={os.path.relpath(train('teacher_digits'))}"
    )
    # The teacher that this student learnt from, which need not be the newest.
    teacher = Path(read(student)["teacher_ckpt"]).parents[1]
    cards = {"teacher": read(teacher), "student": read(student)}
    sizes = {"teacher": cards["teacher"]["parameters"]["network"], "student": cards["student"]["parameters"]["student"]}
    table = Table("", "parameters", "share", "test accuracy", "seconds", title="Data-free distillation on digits")
    for role, card in cards.items():
        share = sizes[role] / sizes["teacher"]
        accuracy = card["metrics"]["test/acc"]
        table.add_row(role, f"{sizes[role]:,}", f"{share:.1%}", f"{accuracy:.2%}", f"{card['seconds']:.0f}")
    console = Console()
    console.print()
    console.print(table)
    for role, run in (("teacher", teacher), ("student", student)):
        console.print(f"{role} pictures: {os.path.relpath(run / 'figures')}", highlight=False, soft_wrap=True)
    console.print(f"TensorBoard: .venv/bin/tensorboard --logdir {LOGS.relative_to(ROOT)}", highlight=False)
    console.print(f"{time.perf_counter() - start:.0f} s in all", highlight=False)


if __name__ == "__main__":
    one_line(quickstart)
