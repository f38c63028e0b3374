"""The command line: `python cli.py COMMAND`, or `lightning-tasks COMMAND` where the package is installed."""

import argparse
import os
import sys
from importlib import import_module

from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.runs.signals import end_in_one_line

# Each command: the module whose `main(args)` runs it, and what `--help` says.
COMMANDS = {
    "fit": ("lightning_tasks.cli.main", "train a task, test its best weights once, write plots and a run card"),
    "validate": ("lightning_tasks.cli.main", "evaluate a checkpoint on the validation split"),
    "test": ("lightning_tasks.cli.main", "evaluate a checkpoint on the test split"),
    "predict": ("lightning_tasks.cli.main", "write the predictions for image files, or draw sketches"),
    "sweep": ("lightning_tasks.sweeps.command", "run each combination of options of a sweep, and write its table"),
    "export": ("lightning_tasks.export.command", "write a trained network as ONNX, torch.export and safetensors"),
    "live": ("lightning_tasks.live.command", "serve a page on which a sketch network draws"),
    "compare": ("lightning_tasks.compare.command", "show runs side by side: metrics, and options that differ"),
    "configs": ("lightning_tasks.cli.configs", "list the configs that are installed"),
}


def command() -> None:
    """Run the command line of this process, which may name classes of the current folder; errors are one line."""
    end_in_one_line()  # before the imports, which take seconds
    args = sys.argv[1:]
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if args[:1] in (["-h"], ["--help"]):
        _parser().print_help()
        sys.exit(0)
    if not args or args[0] not in COMMANDS:
        what = f"no command {args[0]!r}" if args else "no command"
        print(f"error: {what}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    from lightning_tasks.runs.errors import one_line

    module = import_module(COMMANDS[args[0]][0])
    if module.__name__ == "lightning_tasks.cli.main":
        one_line(lambda: module.main(args))
    else:
        one_line(lambda: sys.exit(module.main(args[1:])))


def _parser() -> argparse.ArgumentParser:
    """Build what answers `--help`; each command parses its own options."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Tasks of five deep-learning courses, data-free distillation first.",
        epilog=f"options of a command: {PROGRAM} COMMAND --help",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (_, line) in COMMANDS.items():
        commands.add_parser(name, help=line)
    return parser
