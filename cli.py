"""The command line without installation: `python cli.py --help`, or `cli.main(["fit", ...])` from Python."""

from typing import Any

from lightning_tasks.cli import command


def main(args: Any = None, run: bool = True) -> Any:
    """Run a command line in this process, and return its LightningCLI; see lightning_tasks.cli.main."""
    from lightning_tasks.cli.main import main as run_command_line

    return run_command_line(args, run)


if __name__ == "__main__":
    command()
