"""What makes two runs the same: the configuration that their figures depend on, and nothing else."""

import contextlib
import copy
import hashlib
import importlib
import io
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from lightning_tasks.runs.folders import CONFIG
from lightning_tasks.runs.names import require_loaded
from lightning_tasks.runs.renames import renamed_config

Configuration = dict[str, Any]

# Options that only watch, say where files lie, or choose hardware that computes the same.
WATCHING = {
    "trainer": {
        "accelerator",
        "default_root_dir",
        "detect_anomaly",
        "enable_model_summary",
        "enable_progress_bar",
        "log_every_n_steps",
        "logger",
        "num_sanity_val_steps",
        "profiler",
    },
    "data": {"eval_batch_size", "num_workers", "root"},
}
WATCHING_CALLBACKS = {"DeviceStatsMonitor", "LearningRateMonitor", "ModelSummary", "RichModelSummary", "Timer"}
# Where a file lies differs between machines; the run card and the checkpoint hold its hash.
FILES = {"teacher_ckpt", "recogniser_ckpt"}


def configuration(config: Namespace) -> Configuration:
    """Pick out of a parsed command line what the figures of the run depend on, as plain data.

    All options are in it, also those with their default value, so that a default that changes is noticed, but not from
    which file they were read. It can be parsed again: an option that is newer than the configuration then gets the
    default of today.

    Args:
        config: Parsed config of one subcommand.
    """
    parts = {name: config[name].as_dict() for name in ("model", "data", "trainer") if config.get(name) is not None}
    for name, part in parts.items():
        options = part.get("init_args", part)
        for option in WATCHING.get(name, ()):
            options.pop(option, None)
    if callbacks := parts.get("trainer", {}).get("callbacks"):
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        parts["trainer"]["callbacks"] = [each for each in callbacks if not _only_watches(each["class_path"])] or None
    parts["checkpoint_best"] = config.checkpoint_best.as_dict()
    return _without_paths(json.loads(json.dumps(parts, default=str)))


def _without_paths(options: Any) -> Any:
    """Leave out what the parser adds to the options of a file: its path."""
    if isinstance(options, list):
        return [_without_paths(each) for each in options]
    if isinstance(options, dict):
        return {name: _without_paths(value) for name, value in options.items() if name != "__path__"}
    return options


def _only_watches(class_path: str) -> bool:
    module, _, name = class_path.rpartition(".")
    return name in WATCHING_CALLBACKS or getattr(getattr(importlib.import_module(module), name), "only_watches", False)


def option_args(words: Sequence[str]) -> list[str]:
    """Write each option of a command line as one word, `--name=value`."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--") and "=" not in joined[-1] and not word.startswith("--"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def task_options(words: Sequence[str]) -> list[str]:
    """Pick the single options of the task out of a command line, which win over a checkpoint's in an evaluation.

    But not a file, which may be the newest of a folder: that is the checkpoint's.
    """
    files = tuple(f"--model.{option}=" for option in FILES)
    return [word for word in option_args(words) if word.startswith("--model.") and not word.startswith(files)]


def as_saved(parser: ArgumentParser, config: Namespace) -> Configuration:
    """Write a parsed command line as Lightning does in a checkpoint: a class or a function by the same dotted name.

    Args:
        parser: Parser of the command line.
        config: All of it, with the subcommand.
    """
    return yaml.safe_load(parser.dump(config, skip_none=False, skip_validation=True))


def read_command(parser: ArgumentParser, words: list[str]) -> Configuration:
    """Read the configuration of a command line, without running it.

    Raises:
        ValueError: If it is not valid; says why.
    """
    return configuration(_refusing(parser.parse_args, words).fit)


def read_config(parser: ArgumentParser, path: Path) -> Namespace:
    """Read the options of a config file, as of a run, as if the command line named them.

    Raises:
        ValueError: If there is no such file, or it is not valid today.
    """
    try:
        return _refusing(parser.parse_args, ["fit", f"--config={path}"]).fit
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_run(parser: ArgumentParser, run: Path) -> tuple[Any, Configuration]:
    """Read seed and configuration of a run from its folder; an option that is newer than the run has its default.

    Raises:
        ValueError: If there is no config in the folder, it is not valid today, or names a module that is not installed.
        OSError: If it cannot be read.
    """
    with contextlib.suppress(yaml.YAMLError):  # which the parser says
        require_loaded(renamed_config(yaml.safe_load((run / CONFIG).read_text())), str(run / CONFIG))
    config = read_config(parser, run / CONFIG)
    return config.seed_everything, configuration(config)


def read_card(parser: ArgumentParser, card: dict[str, Any]) -> Configuration:
    """Read the configuration of a run card; an option that is newer than the card has its default.

    Raises:
        ValueError: If it is not valid today, or names a module that is not installed.
    """
    options = renamed_config(copy.deepcopy(card["configuration"]))  # the parser changes what it is given
    require_loaded(options, "the card")
    config = {"subcommand": "fit", "fit": options}
    return configuration(_refusing(parser.parse_object, config).fit)


def _refusing(parse: Callable[[Any], Namespace], what: Any) -> Namespace:
    """Parse, with an error instead of the end of the process."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse(what)
    except SystemExit:
        raise ValueError(said.getvalue().strip().removeprefix("error: ")) from None


def config_hash(config: Configuration) -> str:
    """Hash a configuration: equal for runs that differ in seed, folders and what only watches."""
    lines = sorted(f"{option}: {json.dumps(value)}" for option, value in flat(config))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def differences(theirs: Configuration, ours: Configuration) -> dict[str, tuple[Any, Any]]:
    """Compare two configurations: value there and here of each option that differs, None where there is none."""
    there, here = options_by_name(theirs), options_by_name(ours)
    return {
        option: (there.get(option), here.get(option))
        for option in sorted(there.keys() | here.keys())
        if there.get(option) != here.get(option)
    }


def used_files(config: Configuration) -> dict[str, str]:
    """Give the options that name a trained network, as a teacher, as they were written."""
    options = config.get("model", {}).get("init_args", {})
    return {option: options[option] for option in sorted(FILES) if options.get(option)}


def hash_name(option: str) -> str:
    """Name the entry of a run card with the hash of the file that an option names."""
    return f"{option.removesuffix('_ckpt')}_sha256"


def options_by_name(config: Configuration, left_out: Collection[str] = FILES) -> dict[str, Any]:
    """Give all options of a configuration but some; a class with empty `init_args` is still named by its path."""
    options: dict[str, Any] = {}
    for name, value in flat(config, left_out=left_out):
        options.setdefault(name, value)
    return options


def flat(node: Any, path: str = "", left_out: Collection[str] = FILES) -> Iterator[tuple[str, Any]]:
    """Go through all options of a configuration but some, named as the command line does."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            if key not in left_out:
                yield from flat(value, path if key == "init_args" else f"{path}.{key}".lstrip("."), left_out)
    elif isinstance(node, list) and any(isinstance(each, dict) for each in node):
        for index, value in enumerate(node):
            yield from flat(value, f"{path}[{index}]", left_out)
    else:
        yield path.removesuffix(".class_path"), node
