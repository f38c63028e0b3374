"""How long the command line takes to answer, against the imports that it cannot do without."""

import subprocess
import sys
from pathlib import Path

from tools.benchmarks.measure import REPEATS, Comparison, compare, seconds

CLI = Path(__file__).parents[2] / "cli.py"


def run(root: str) -> list[Comparison]:
    """Measure whole processes."""
    del root
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(REPEATS + 1):
        ours.append(_process_seconds(str(CLI), "--help"))
        theirs.append(_process_seconds("-c", "import torch, pytorch_lightning"))
    name = "cli.py --help"
    return [compare(name, "import torch, pytorch_lightning", "s", ours, theirs, bar=1 / 1.3)]


def _process_seconds(*words: str) -> float:
    return seconds(lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True))
