"""Errors as one line: what is wrong, where, and what is allowed; `python -X dev` shows the traceback instead."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import ClassVar, NoReturn

from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import distributed


class OneLineErrorParser(LightningArgumentParser):
    """Parser that says what is wrong in one line, without the pages of usage before it.

    Attributes:
        classes: Options that take a class: where to look for it, and what it must be.
    """

    classes: ClassVar[dict[str, tuple[ModuleType, type]]] = {}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message, with the place of a key that is not accepted, and exit with status 2."""
        if unknown := re.match(r"unrecognized arguments: --(\w+)", message):
            message = f"Option '{unknown[1]}' is not accepted"
        if key := re.search(r"Option '(\w+)' is not accepted", message):
            message += f"{find_key(key[1])}; --model.help CLASS and --data.help CLASS list what is"
        unknown_class = rf'Parser key "({"|".join(self.classes)})":.*Expected a dot import path string: (\S+)'
        if name := re.search(unknown_class, message, re.DOTALL):
            package, base = self.classes[name[1]]
            members = [each for each in map(package.__dict__.get, package.__all__) if isinstance(each, type)]
            known = [each.__name__ for each in members if base in each.__mro__[1:]]
            message = f"{name[1]}: no class {name[2]}; known are {', '.join(known)}"
        wanted = r'Parser key "([\w.]+)":.*expects a function or a callable class: (.*)\. Got value: (\S+)'
        if wrong := re.search(wanted, message, re.DOTALL):
            message = f"{wrong[1]}: {wrong[3]}: {wrong[2]}"
        self.exit(2, f"error: {' '.join(message.split())}\n")


def find_key(key: str) -> str:
    """Say where a key stands on the command line or in its config files, as " (file:line)"."""
    for word in sys.argv:
        option, _, value = word.partition("=")
        if option.startswith("--") and key in option[2:].split("."):
            return f" ({option})"
        path = Path(value or word)
        if path.suffix in (".yaml", ".yml") and path.is_file():
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(rf"\b{key}\s*:", line):
                    return f" ({path}:{number})"
    return ""


def one_line(command: Callable[[], object]) -> None:
    """Run a command and end the process: an error as one line with status 1, a termination with its signal's status.

    Args:
        command: Runs the command line of the process.
    """
    try:
        command()
        if distributed.is_available() and distributed.is_initialized():
            # A process that ends without is now and then aborted by gloo's threads, with status -6:
            # https://github.com/pytorch/pytorch/pull/179291
            distributed.destroy_process_group()
    except SIGTERMException:
        go_on = "; the same command with --ckpt_path last goes on from the last epoch" if "fit" in sys.argv[1:] else ""
        print(f"stopped by SIGTERM{go_on}", file=sys.stderr)
        sys.exit(143)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        sys.exit(f"error: {describe(error)}")


def describe(error: BaseException) -> str:
    """Say in one line what went wrong; the kind of error too where it is not one that this project raises."""
    while error.__cause__ is not None and str(error).startswith("Does not validate"):  # jsonargparse's wrapping
        error = error.__cause__
    text = " ".join(str(error).split())
    if isinstance(error, (ValueError, OSError, FloatingPointError)):
        return text
    return f"{type(error).__name__}: {text[:500]} (python -X dev shows where)"
