"""The command that makes what an error finds missing."""

import re
import shlex
from pathlib import Path

import yaml

from lightning_tasks.runs.errors import config_files
from lightning_tasks.runs.folders import CARD, CONFIG, LAST, newest_version
from lightning_tasks.runs.paths import CONFIGS, shown, user_path
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.runs.seed import DEFAULT_SEED

LOGS = Path("logs")


def how_to_make(path: str | Path) -> str:
    """Say which command makes a run that is missing, or resumes one that is unfinished.

    Args:
        path: Path that was looked for: a checkpoint, a run's folder or an experiment's.

    Returns:
        The end of a sentence; nothing if no config is of that experiment.
    """
    place = Path(path)
    if place.suffix == ".ckpt":
        place = place.parent.parent if place.parent.name == LAST.parent.name else place.parent
    if re.fullmatch(r"version_\d+", place.name):
        place = place.parent
    if (made := maker(place)) is None:
        return ""
    config, logs = made
    command = f"{PROGRAM} fit --config {shlex.quote(str(config))}"
    if logs.resolve() != LOGS.resolve():
        command += f" --trainer.default_root_dir {shlex.quote(str(logs))}"
    begun = newest_version(place, lambda run: (run / LAST).is_file() and not (run / CARD).is_file())
    return f"; {command}{_seed_of(begun)} --ckpt_path last resumes {begun}" if begun else f"; {command} makes it"


def _seed_of(run: Path) -> str:
    """Give the words of a command for the seed of a run; none if it is the default or cannot be read."""
    try:
        seed = yaml.safe_load((run / CONFIG).read_text())["seed_everything"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ""
    return "" if seed == DEFAULT_SEED else f" --seed_everything {seed}"


def maker(place: Path) -> tuple[Path, Path] | None:
    """Find the config of the experiment that a folder is of, and the log folder that it is below."""
    found = ((find_config(str(place.relative_to(logs))), logs) for logs in place.parents)
    return next(((config, logs) for config, logs in found if config), None)


def find_config(experiment: str) -> Path | None:
    """Find the config of an experiment, by the name that it says: beside those of the command line, and in configs/."""
    says = re.compile(rf"^experiment: *([\"']?){re.escape(experiment)}\1 *(#.*)?$", re.MULTILINE)
    for folder in dict.fromkeys([*(config.parent for config in config_files()), Path("configs")]):
        for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem != experiment):
            if says.search(path.read_text(errors="ignore")):
                return Path("configs", path.name) if folder == CONFIGS else Path(shown(path))
    return None


def cpu_config(experiment: str) -> str | None:
    """Give the config that the comment on top of an experiment's config names "On a CPU"."""
    config = find_config(experiment)
    named = config and re.search(r"^# On a CPU: (\S+\.yaml)", user_path(config).read_text(), re.MULTILINE)
    return named[1] if named else None
