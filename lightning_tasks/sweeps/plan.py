"""What a sweep consists of: its file, its cells, and the command line of each."""

import itertools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_tasks.cli.unique_keys import read_yaml
from lightning_tasks.runs.paths import config_path
from lightning_tasks.runs.seed import MOST

ALLOWED = ("config", "axes", "options", "seeds", "metrics", "columns", "reported", "over_time")


@dataclass(frozen=True)
class Cell:
    """One choice on every axis.

    Attributes:
        values: The name chosen on each axis.
        words: What the sweep's options and the choices add to the command line.
        folder: Name for the file system.
    """

    values: dict[str, str]
    words: tuple[str, ...]
    folder: str


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file says.

    Attributes:
        name: Stem of the file; the runs are under logs/<name>/.
        config: Config file of the experiment.
        axes: For each axis, the overrides {option: value} of each named choice.
        columns: Axes that run across the table; the others run down. If all run down, seconds stand beside the metrics.
        options: Overrides {option: value} of all runs.
        seeds: Each cell is run with each seed.
        metrics: Of the run card, shown in the table; only one if there are columns.
        reported: What others report for a row: {axis: choice, ..., "values": {metric: number}}.
        over_time: Headline metrics, as of validation, to be drawn over the minutes of `fit`, each with the value whose
            time the table tells; of losses and other costs the time at which they were first as low.
    """

    name: str
    config: str
    axes: dict[str, dict[str, dict[str, Any]]]
    columns: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [42])
    metrics: list[str] = field(default_factory=lambda: ["test/acc"])
    reported: list[dict[str, Any]] = field(default_factory=list)
    over_time: dict[str, float] = field(default_factory=dict)

    def cells(self) -> list[Cell]:
        """List every combination of choices, the last axis changing fastest."""
        cells = []
        for names in itertools.product(*self.axes.values()):
            values = dict(zip(self.axes, names, strict=True))
            overrides = [self.options, *(self.axes[axis][name] for axis, name in values.items())]
            words = [f"--{option}={_word(value)}" for each in overrides for option, value in each.items()]
            folder = ",".join(re.sub(r"[^\w.+-]+", "-", name) for name in names)
            cells.append(Cell(values, tuple(words), folder))
        return cells

    def experiment(self, cell: Cell) -> str:
        """Name the runs of a cell, which is their folder under the logs too."""
        return f"{self.name}/{cell.folder}"

    def command(self, cell: Cell) -> list[str]:
        """Give the command line of a cell, without its seed."""
        return ["fit", f"--config={self.config}", *cell.words, f"--experiment={self.experiment(cell)}"]

    def layout(self) -> tuple[list[str], list[dict[str, str]]]:
        """Give the axes that run down the table, and the choices {axis: name} of each column."""
        down = [axis for axis in self.axes if axis not in self.columns]
        names = itertools.product(*(self.axes[axis] for axis in self.columns))
        return down, [dict(zip(self.columns, each, strict=True)) for each in names]

    def reported_values(self, cell: Cell) -> dict[str, float]:
        """Give what others report, by metric, for the row of the table that a cell is in."""
        for row in self.reported:
            if all(row[axis] == name for axis, name in cell.values.items() if axis not in self.columns):
                return row["values"]
        return {}


def read(path: Path) -> Sweep:
    """Read the file of a sweep.

    Raises:
        ValueError: If it is not one; says what is wrong.
        OSError: If it cannot be read.
    """
    try:
        data = read_yaml(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: no text in UTF-8") from None
    if not isinstance(data, dict) or not {"config", "axes"} <= data.keys() or not data.keys() <= set(ALLOWED):
        raise ValueError(f"{path}: a sweep needs config and axes, and may have {', '.join(ALLOWED[2:])} besides")
    if not config_path(str(data["config"])).is_file():
        raise ValueError(f"{path}: config: no file {data['config']}")
    seeds = data.get("seeds", [])
    if not isinstance(seeds, list) or not all(isinstance(seed, int) and 0 <= seed <= MOST for seed in seeds):
        raise ValueError(f"{path}: seeds must be a list of integers from 0 to {MOST:,}, got {seeds!r}")
    if not isinstance(data.get("options", {}), dict):
        raise ValueError(f"{path}: options must map options to values, got {data['options']!r}")
    axes = data["axes"]
    if not isinstance(axes, dict) or not axes:
        raise ValueError(f"{path}: axes must map the name of each axis to its choices")
    for axis, choices in axes.items():
        if not isinstance(choices, dict) or not choices or not all(isinstance(each, dict) for each in choices.values()):
            raise ValueError(f"{path}: axes.{axis} must map the name of each choice to its overrides {{option: value}}")
        for name in choices:  # YAML reads off as a truth value and 10 as a number
            if not isinstance(name, str):
                raise ValueError(f"{path}: axes.{axis}: put the name {name!r} in quotes")
    data.setdefault("columns", list(axes)[-1:])
    for option in ("columns", "reported"):
        if not isinstance(data.get(option, []), list):
            raise ValueError(f"{path}: {option} must be a list, got {data[option]!r}")
    if unknown := set(data["columns"]) - set(axes):
        raise ValueError(f"{path}: columns: no axis {', '.join(map(str, unknown))}; there are {', '.join(axes)}")
    sweep = Sweep(name=path.stem, **data)
    if not isinstance(sweep.metrics, list) or not sweep.metrics or not all(isinstance(m, str) for m in sweep.metrics):
        raise ValueError(f"{path}: metrics must be a list of names, got {sweep.metrics!r}")
    if len(sweep.metrics) > 1 and sweep.columns:
        raise ValueError(f"{path}: several metrics need columns: [], got {', '.join(sweep.columns)}")
    if not isinstance(sweep.over_time, dict) or not all(
        isinstance(each, int | float) for each in sweep.over_time.values()
    ):
        raise ValueError(f"{path}: over_time must map metrics to the values to be reached, got {sweep.over_time!r}")
    if sweep.over_time and sweep.columns:
        raise ValueError(f"{path}: over_time needs columns: [], got {', '.join(sweep.columns)}")
    down = [axis for axis in axes if axis not in sweep.columns]
    for row in sweep.reported:
        if (
            not isinstance(row, dict)
            or set(row) != {*down, "values"}
            or any(row[axis] not in axes[axis] for axis in down)
        ):
            raise ValueError(f"{path}: reported: {row} must give a choice on {', '.join(down)} and values")
        values = row["values"]
        if not isinstance(values, dict) or not all(isinstance(each, int | float) for each in values.values()):
            raise ValueError(f"{path}: reported: values must map metrics to numbers, got {values!r}")
        if unknown := set(values) - set(sweep.metrics):
            raise ValueError(f"{path}: reported: no metric {', '.join(unknown)}; there are {', '.join(sweep.metrics)}")
    folders = [cell.folder for cell in sweep.cells()]
    if len(set(folders)) < len(folders):
        raise ValueError(f"{path}: two choices have names that are the same as a folder; change one")
    return sweep


def _word(value: Any) -> str:
    """Write an override as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)
