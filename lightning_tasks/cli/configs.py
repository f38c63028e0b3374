"""List the configs that are installed, each with the first line of its description."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_tasks.runs.paths import CONFIGS
from lightning_tasks.runs.program import PROGRAM


def main(args: list[str]) -> None:
    """Print the list."""
    argparse.ArgumentParser(prog=f"{PROGRAM} configs", description=__doc__).parse_args(args)
    table = Table("config", "", box=None, pad_edge=False, show_header=False)
    for path in sorted(CONFIGS.glob("*.yaml")):
        table.add_row(f"configs/{path.name}", describe(path))
    Console().print(table)


def describe(config: Path) -> str:
    """Give the first sentence of the comment on top of a config."""
    lines = []
    for line in config.read_text().splitlines():
        if not line.startswith("# ") or line.startswith("# yaml-language-server"):
            break
        lines.append(line.removeprefix("# ").strip())
    return f"{' '.join(lines).partition('. ')[0].removesuffix('.')}." if lines else ""
