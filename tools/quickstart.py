"""Data-free distillation on the embedded digits, from nothing to a table: `make quickstart`.

Trains a teacher, distils a student from it without data, and says what came of it, in half the epochs of
configs/teacher_digits.yaml and configs/dfad_plus_digits.yaml, the student on smaller batches. A finished part is not
run again, an interrupted one goes on where it was.
"""

import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_tasks.cli.main import main
from lightning_tasks.cli.needs import CHAIN
from lightning_tasks.runs.cards import load_card
from lightning_tasks.runs.errors import one_line
from lightning_tasks.runs.folders import CARD, newest_version, versions

LOGS = Path("logs")
TEACHER, STUDENT = "quickstart_teacher", "quickstart_student"


def train_teacher() -> Path:
    """Train the teacher; return its run's folder."""
    words = ["--config=configs/teacher_digits.yaml", "--trainer.max_epochs=10", "--model.scheduler.T_max=10"]
    return train(TEACHER, "1 of 2: a teacher learns from scikit-learn's handwritten digits", words)


def train_student() -> Path:
    """Train the student, which needs a teacher; return its run's folder."""
    words = [
        "--config=configs/dfad_plus_digits.yaml",
        f"--model.teacher_ckpt={train_teacher()}",
        "--model.batch_size=72",
        "--trainer.max_epochs=6",
        "--model.student_training.scheduler.T_max=6",
        "--model.generator_training.scheduler.T_max=6",
    ]
    return train(STUDENT, "2 of 2: a student of a fifth of its size learns from it, and sees no digit", words)


def finished(experiment: str) -> Path | None:
    """Find the newest run of an experiment that has a run card."""
    return newest_version(LOGS / experiment, lambda run: load_card(run / CARD) is not None)


def train(experiment: str, title: str, words: list[str]) -> Path:
    """Run an experiment unless it has been; return its folder."""
    run = finished(experiment)
    if run is None:
        print(f"\n{title}\n", flush=True)
        begun = ["--ckpt_path=last"] if versions(LOGS / experiment) else []
        main(["fit", *words, f"--experiment={experiment}", *begun])
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
    os.environ[CHAIN] = "quickstart"  # what comes next is said here
    os.chdir(Path(__file__).parents[1])
    student = finished(STUDENT) or train_student()
    # The teacher that this student learnt from, which need not be the newest.
    teacher = Path(read(student)["teacher_ckpt"]).parents[1]
    cards = {"teacher": read(teacher), "student": read(student)}
    sizes = {"teacher": cards["teacher"]["parameters"]["network"], "student": cards["student"]["parameters"]["student"]}
    table = Table("", "parameters", "share", "test accuracy", "seconds", title="Data-free distillation on digits")
    for role, card in cards.items():
        share = sizes[role] / sizes["teacher"]
        accuracy = card["metrics"]["test/acc"]
        table.add_row(role, f"{sizes[role]:,}", f"{share:.1%}", f"{accuracy:.2%}", f"{card['seconds']:.0f}")
    console = Console(soft_wrap=True, highlight=False)
    console.print()
    console.print(table)
    for role, run in (("teacher", teacher), ("student", student)):
        console.print(f"{role} figures: {os.path.relpath(run / 'figures')}")
    console.print(f"TensorBoard: .venv/bin/tensorboard --logdir {LOGS}")
    console.print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    one_line(quickstart)
