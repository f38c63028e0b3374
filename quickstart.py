"""Data-free distillation on the embedded digits, from nothing to a table: `make quickstart`.

Trains a teacher, distils a student from it without data, and says what came of it. A finished part is not run again, an
interrupted one goes on where it was.
"""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli import main
from lightning_tasks.checkpoints import newest_version

ROOT = Path(__file__).parent
LOGS = ROOT / "logs"


def finished(experiment: str) -> Path | None:
    """Find the newest run of an experiment that has a run card."""
    return newest_version(LOGS / experiment, lambda run: (run / "run.json").is_file())


def train(experiment: str) -> tuple[Path, dict[str, Any]]:
    """Run an experiment unless it has been; return its folder and its run card."""
    run = finished(experiment)
    if run is None:
        main(
            [
                "fit",
                f"--config={ROOT / 'configs' / experiment}.yaml",
                f"--trainer.default_root_dir={LOGS}",
                "--trainer.enable_model_summary=false",
                "--ckpt_path=last",
            ]
        )
        run = finished(experiment)
    assert run is not None
    return run, json.loads((run / "run.json").read_text())


def quickstart() -> None:
    """Run both experiments and print the table."""
    start = time.perf_counter()
    runs = {"teacher": train("teacher_digits"), "student": train("dfad_digits")}
    teacher_size = runs["teacher"][1]["parameters"]["network"]
    table = Table("", "parameters", "share", "test accuracy", "seconds", title="Data-free distillation on digits")
    for role, (_, card) in runs.items():
        size = card["parameters"]["network" if role == "teacher" else "student"]
        accuracy = card["metrics"]["test/acc"]
        table.add_row(role, f"{size:,}", f"{size / teacher_size:.1%}", f"{accuracy:.2%}", f"{card['seconds']:.0f}")
    console = Console()
    console.print(table)
    for role, (run, _) in runs.items():
        console.print(f"{role} pictures: {(run / 'figures').relative_to(ROOT)}", highlight=False)
    console.print(f"TensorBoard: .venv/bin/tensorboard --logdir {LOGS.relative_to(ROOT)}", highlight=False)
    console.print(f"{time.perf_counter() - start:.0f} s in all", highlight=False)


if __name__ == "__main__":
    quickstart()
