"""Errors as one line: what is wrong, where, and what is allowed; `python -X dev` shows the traceback instead."""

import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch import OutOfMemoryError, distributed

from lightning_tasks.runs import signals
from lightning_tasks.runs.atomic_writes import NO_ROOM, reason
from lightning_tasks.runs.paths import config_path
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.runs.renames import present_name, renamed_args, renamed_config

# Modules that only some runs need, by the extra of this project that brings them.
EXTRAS = {
    **{"timm": "external", "onnx2torch": "external", "wandb": "loggers", "mlflow": "loggers"},
    **{"aiohttp": "live", "msgspec": "sketch", "shapely": "sketch", "kornia": "augment"},
}
EXAMPLE = f"{PROGRAM} fit --config configs/teacher_digits.yaml"


class OneLineErrorParser(LightningArgumentParser):
    """Parser that says what is wrong in one line, without the pages of usage before it.

    Attributes:
        classes: Options that take a class: where to look for it, and what it must be.
    """

    classes: ClassVar[dict[str, tuple[ModuleType, type]]] = {}

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:  # type: ignore[override]
        """Parse a command line; its configs may be installed ones, its names those of an older version."""
        given = renamed_args(sys.argv[1:] if args is None else args)
        if len(given) == 1 and given[0].endswith("=None"):  # so jsonargparse 4.53 hands on the null of a part's option
            given = [f"{given[0].removesuffix('=None')}=null"]
        return super().parse_args(with_installed_configs(given), *rest, **options)

    def parse_object(self, config: Any, *rest: Any, **options: Any) -> Any:
        """Parse plain data, whose names may be those of an older version."""
        given = config.as_dict() if isinstance(config, Namespace) else config
        return super().parse_object(renamed_config(given), *rest, **options)

    def dump(self, namespace: Namespace, *rest: Any, **options: Any) -> str:
        """Write a config as text, without checking again what has been parsed: a fifth of the start of a short run."""
        return super().dump(namespace, *rest, **({"skip_validation": True} | options))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message, with the place of a key that is not accepted, and exit with status 2."""
        if unknown := re.match(r"unrecognized arguments: --(\w+)", message):
            message = f"Option '{unknown[1]}' is not accepted"
        if key := re.search(r"Option '(\w+)' is not accepted", message):
            now = f", and may be model.{new} now" if (new := present_name(key[1])) else ""
            message += f"{find_key(key[1])}{now}; --model.help CLASS and --data.help CLASS list what is"
        unknown_class = rf'Parser key "({"|".join(self.classes)})":.*Expected a dot import path string: (\S+)'
        if name := re.search(unknown_class, message, re.DOTALL):
            package, base = self.classes[name[1]]
            members = [each for each in map(package.__dict__.get, package.__all__) if isinstance(each, type)]
            known = [each.__name__ for each in members if base in each.__mro__[1:]]
            message = f"{name[1]}: no class {name[2]}; known are {', '.join(known)}"
        wanted = r'Parser key "([\w.]+)":.*expects a function or a callable class: (.*)\. Got value: (\S+)'
        if wrong := re.search(wanted, message, re.DOTALL):
            given = re.sub(r"Namespace\(class_path='([^']*)'.*", r"\1", wrong[3])
            message = f"{wrong[1]}: {given}: {wrong[2]}"
        if message.startswith(("the following arguments are required", 'expected "subcommand"')):
            message += f"; for example: {EXAMPLE}"
        if message.startswith("Unexpected config"):
            message = "a config file must map options to values, as `trainer: {max_epochs: 5}`"
        if message.startswith("Problems parsing config"):
            message = message.replace("<unicode string>", " or ".join(map(str, config_files())))
        self.exit(2, f"error: {name_extra(of_union(' '.join(message.split())))}\n")


UNION = re.compile(
    r'Parser key "(?P<key>[\w.]+)":.*?Does not validate against any of the Union subtypes'
    r" Subtypes: \[(?P<types>.*?)\] Errors: (?P<errors>.*) Given value type: .*? Given value:\s*(?P<value>.*)"
)


def of_union(message: str) -> str:
    """Shorten what jsonargparse says of an option that may be of several types: value, reason, what is allowed."""
    found = UNION.fullmatch(message)
    if found is None:
        return message
    reasons = dict.fromkeys(each.strip() for each in re.split(r"(?:^| )- (?=[A-Z])", found["errors"]))
    said = [
        re.sub(r"Expected a dot import path string: (\S+)", r"no class \1", each)
        for each in reasons
        if each and (not re.match(r"Expected a (<|typing|path)|Not a valid subclass", each) or "Got value" in each)
    ]
    types = re.sub(r"<class '([^']*)'>", r"\1", found["types"]).replace("NoneType", "null")
    types = re.sub(r"typing\.Literal\[(.*?)\]", r"\1", types).replace("'", "")
    allowed = re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", types)
    value = found["value"] if len(found["value"]) < 160 else f"{found['value'][:157]}..."
    return f"{found['key']}: got {value}{''.join(f'; {each}' for each in said)}; allowed: {allowed}"


def with_installed_configs(args: Sequence[str]) -> list[str]:
    """Replace the names of configs that are no files by the paths of installed ones."""
    found = []
    for before, arg in zip(["", *args], args, strict=False):
        option, equals, value = arg.partition("=")
        if option == "--config" and equals:
            arg = f"--config={config_path(value)}"
        elif before in ("-c", "--config"):
            arg = str(config_path(arg))
        found.append(arg)
    return found


def config_files() -> list[Path]:
    """List the files of YAML that the command line names."""
    paths = (config_path(word.partition("=")[2] or word) for word in sys.argv)
    return [path for path in paths if path.suffix in (".yaml", ".yml") and path.is_file()]


def find_key(key: str) -> str:
    """Say where a key stands on the command line or in its config files, as " (file:line)"."""
    for word in sys.argv:
        option = word.partition("=")[0]
        if option.startswith("--") and key in option[2:].split("."):
            return f" ({option})"
    for path in config_files():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(rf"\b{key}\s*:", line):
                return f" ({path}:{number})"
    return ""


def one_line(command: Callable[[], object]) -> None:
    """Run a command and end the process: an error as one line with status 1, a termination with its signal's status.

    If the reader of its output has ended, as `head` does, so does the process, without a line and with status 141.

    Args:
        command: Runs the command line of the process.
    """
    threading.excepthook = _unless_raised_again
    try:
        require_text(config_files())
        try:
            command()
        finally:
            sys.stdout.flush()  # here, where an error is still one line
        if distributed.is_available() and distributed.is_initialized():
            # A process that ends without is now and then aborted by gloo's threads, with status -6:
            # https://github.com/pytorch/pytorch/pull/179291
            distributed.destroy_process_group()
    except SIGTERMException:
        _stopped("SIGTERM", 143)
    except KeyboardInterrupt:
        _stopped("Ctrl-C", 130)
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # as Lightning ends a fit
            _stopped("Ctrl-C", 130)
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it ends
            sys.exit(141)
        if sys.flags.dev_mode:
            raise
        if signals.received and LOST.search(str(error)):  # another one was sent it too, and has ended before
            _stopped(signals.ENDING[signals.received], 128 + signals.received)
        sys.exit(f"error: {describe(error)}")


def _is_unread() -> bool:
    """Say whether the reader of this process's output has ended: what it did not take is still to be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def _unless_raised_again(raised: threading.ExceptHookArgs) -> None:
    """Leave out a full disk: TensorBoard's thread has what calls it next raise that too."""
    if sys.flags.dev_mode or getattr(raised.exc_value, "errno", None) not in NO_ROOM:
        threading.__excepthook__(raised)


def _stopped(by: str, status: int) -> NoReturn:
    print(f"stopped by {by}{how_to_resume()}", file=sys.stderr)
    sys.exit(status)


def how_to_resume() -> str:
    """Say how to resume a run that was stopped, if this process trains one."""
    if "fit" not in sys.argv[1:]:
        return ""
    resumes = "; the same command with --ckpt_path last resumes from the last epoch"
    return resumes if signals.trains else " before the run has begun"


def require_text(paths: list[Path]) -> None:
    """Refuse files that are no text, which the parser would not name.

    Raises:
        ValueError: If one is not UTF-8.
    """
    for path in paths:
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is no text in UTF-8: byte {error.start} is {error.object[error.start]:#x}"
            ) from None


# What gloo, NCCL and the store of torch.distributed say if a process at the other end of a connection is not there.
LOST = re.compile(
    r"(?=.*(?:gloo|NCCL|SocketImpl|TCPStore|clients joined|client socket)).*?"
    r"(connection (?:was likely )?(?:closed|reset)(?: by peer)?|broken pipe|remote process exited"
    r"|timed out (?:waiting|after \d+ ?\w+ (?:waiting|while trying to connect)))"
    r"|(application timeout) caused pair closure",  # gloo, of a connection on which another operation has timed out
    re.IGNORECASE | re.DOTALL,
)


def no_answer(error: BaseException) -> bool:
    """Say whether the wait for another process has lasted too long."""
    lost = LOST.search(str(error))
    return lost is not None and (lost[1] or lost[2]).lower().startswith(("timed out", "application timeout"))


def name_extra(said: str) -> str:
    """Add to an error how to install what it misses, if an extra of this project brings it and it does not say so."""
    module = re.search(r"(?:No module named|Requirement) '(\w+)", said)
    extra = EXTRAS.get(module[1]) if module else None
    if extra is None or f"[{extra}]" in said:
        return said
    return f"{said.partition(' HINT: ')[0].rstrip('.')}; pip install 'lightning-tasks[{extra}]'"


def describe(error: BaseException) -> str:
    """Say in one line what went wrong; the kind of error too where it is not one that this project raises."""
    while error.__cause__ is not None and str(error).startswith("Does not validate"):  # jsonargparse's wrapping
        error = error.__cause__
    text = " ".join(str(error).split())
    if lacks := re.match(r"Missing required keys: \{(.*?)\}\. Got value: \{'dataset': '(\w+)'", text):
        keys = ", ".join(sorted(re.findall(r"\w+", lacks[1])))
        return f"data: {lacks[2]} does not go with this task, which must know of its data: {keys}"
    if "can't allocate memory" in text or isinstance(error, (MemoryError, OutOfMemoryError)):
        return f"not enough memory; make batches, images or networks smaller ({text[:200]})"
    if lost := LOST.search(text):
        has = "does not answer" if no_answer(error) else "has ended"
        return f"another process of this run {has} ({lost[1] or lost[2]}){how_to_resume()}"
    if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is not None:
        return f"{error.filename}: {reason(error, None, Path(error.filename))}"
    if isinstance(error, (ValueError, OSError, FloatingPointError, ImportError, MisconfigurationException)):
        return name_extra(text)
    return f"{type(error).__name__}: {text[:500]} (python -X dev shows where)"
