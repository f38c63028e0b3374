"""What a sweep consists of: its file, its cells, and the command line of each."""

import copy
import itertools
import json
import re
from argparse import ArgumentError
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from jsonargparse import ArgumentParser

from lightning_tasks.cli.unique_keys import read_yaml
from lightning_tasks.runs.paths import config_path
from lightning_tasks.runs.seed import require_seed

Value: TypeAlias = bool | int | float | str | list | dict | None  # not Any, for which jsonargparse looks up classes


@dataclass(frozen=True)
class Cell:
    """One choice on every axis.

    Attributes:
        values: The name chosen on each axis.
        words: Arguments that the sweep's options and the choices add to the command line.
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
        metrics: Metrics of the run cards that the table shows; only one if there are columns.
        reported: Results that others report for a row: {axis: choice, ..., "values": {metric: number}}.
        over_time: Headline metrics, as of validation, to be drawn over the minutes of `fit`, each with the value whose
            time the table tells; of losses and other costs the time at which they were first as low.
        trade_off: Two of the metrics, to be plotted against each other with a labelled point for each cell; or none.
    """

    name: str
    config: str
    axes: dict[str, dict[str, dict[str, Value]]]
    columns: list[str]
    options: dict[str, Value] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [42])
    metrics: list[str] = field(default_factory=lambda: ["test/acc"])
    reported: list[dict[str, Any]] = field(default_factory=list)
    over_time: dict[str, float] = field(default_factory=dict)
    trade_off: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check what the types do not say.

        Raises:
            ValueError: If an entry does not fit the others.
        """
        if not config_path(self.config).is_file():
            raise ValueError(f"config: no file {self.config}")
        if not self.axes or not all(self.axes.values()):
            raise ValueError("axes must map the name of each axis to its choices {name: {option: value}}")
        for axis, choices in self.axes.items():
            for name in choices:  # YAML reads off as a truth value and 10 as a number
                if not isinstance(name, str):
                    raise ValueError(f"axes.{axis}: put the name {name!r} in quotes")
        for seed in self.seeds:
            require_seed(seed, "seeds")
        if unknown := set(self.columns) - set(self.axes):
            raise ValueError(f"columns: no axis {', '.join(unknown)}; there are {', '.join(self.axes)}")
        if not self.metrics:
            raise ValueError("metrics must name at least one")
        for option in ("metrics", "over_time"):
            if self.columns and len(getattr(self, option)) > (option == "metrics"):
                raise ValueError(f"{option}: more than a column needs columns: [], got {', '.join(self.columns)}")
        if self.trade_off and (len(self.trade_off) != 2 or not set(self.trade_off) <= set(self.metrics)):
            raise ValueError(f"trade_off must name two of the metrics {', '.join(self.metrics)}, got {self.trade_off}")
        down, _ = self.layout()
        for row in self.reported:
            if row.keys() != {*down, "values"} or any(str(row[axis]) not in self.axes[axis] for axis in down):
                raise ValueError(f"reported: {row} must give a choice on {', '.join(down)} and values")
            values = row["values"]
            if not isinstance(values, dict) or not all(isinstance(each, int | float) for each in values.values()):
                raise ValueError(f"reported: values must map metrics to numbers, got {values!r}")
            if unknown := values.keys() - set(self.metrics):
                raise ValueError(f"reported: no metric {', '.join(unknown)}; there are {', '.join(self.metrics)}")
        folders = [cell.folder for cell in self.cells()]
        if len(set(folders)) < len(folders):
            raise ValueError("two choices have names that are the same as a folder; change one")

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
    required, allowed = [each.name for each in fields(Sweep)][1:3], [each.name for each in fields(Sweep)][3:]
    if not isinstance(data, dict) or not set(required) <= data.keys() <= {*required, *allowed}:
        raise ValueError(f"{path}: a sweep needs {' and '.join(required)}, and may have {', '.join(allowed)} besides")
    data = {name: value for name, value in data.items() if value is not None}  # as if it were not there
    if isinstance(data.get("axes"), dict):
        data.setdefault("columns", list(data["axes"])[-1:])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Sweep, skip={"name"})
    try:
        checked = parser.parse_object(copy.deepcopy(data)).as_dict()
        # Names and values of options stay as they are written: jsonargparse reads the choice 70:30 as a number.
        as_written = {name: data[name] for name in ("axes", "options", "reported") if name in data}
        return Sweep(path.stem, **checked | as_written)
    except (ArgumentError, ValueError) as error:
        said = re.sub(r'Parser key "([\w.]+)":', r"\1:", " ".join(str(error).split()))
        said = re.sub(r"Expected an? <class '(\w+)'>\. Got value:", r"expected \1, got", said)
        raise ValueError(f"{path}: {said}") from None


def _word(value: Any) -> str:
    """Write an override as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)
