"""A sweep as CSV, Markdown and a picture."""

import csv
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runs.figures import is_share, shown
from sweeps.plan import Sweep

Card = dict[str, Any]
Row = dict[str, Any]


def rows(sweep: Sweep, cards: Iterable[Card], hashes: Mapping[str, str]) -> list[Row]:
    """Summarise the run cards of each cell: mean and standard deviation over seeds, None where there are too few.

    Args:
        sweep: The sweep.
        cards: Any run cards; those of other runs are passed over, and of two runs with one seed the newer counts.
        hashes: Configuration hash of each cell by its folder; cards of another configuration are passed over.
    """
    wanted = {sweep.experiment(cell): hashes[cell.folder] for cell in sweep.cells()}
    newest: dict[tuple[str, int], Card] = {}
    for card in sorted(cards, key=lambda card: card["date"]):
        if wanted.get(card["experiment"]) == card["config_hash"]:
            newest[card["experiment"], card["seed"]] = card
    result = []
    for cell in sweep.cells():
        experiment = sweep.experiment(cell)
        group = [card for (name, seed), card in sorted(newest.items()) if name == experiment and seed in sweep.seeds]
        values = {
            metric: [card["metrics"][metric] for card in group if metric in card["metrics"]] for metric in sweep.metrics
        }
        reported = sweep.reported_values(cell)
        row: Row = {**cell.values, "seeds": min(map(len, values.values())), "values": values}
        for metric, each in values.items():
            row[f"{metric} mean"] = statistics.mean(each) if each else None
            row[f"{metric} std"] = statistics.stdev(each) if len(each) > 1 else None
            row[f"{metric} reported"] = reported.get(metric)
        row["seconds"] = statistics.median(card["seconds"] for card in group) if group else None
        result.append(row)
    return result


def write(sweep: Sweep, table: list[Row], folder: Path) -> None:
    """Write `<name>.csv`, `<name>.md` and `<name>.png` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{sweep.name}.csv", "w", newline="") as file:
        names = [name for name in table[0] if name != "values"]
        writer = csv.DictWriter(file, fieldnames=names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in table:
            writer.writerow({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()})
    (folder / f"{sweep.name}.md").write_text(markdown(sweep, table) + "\n")
    draw(sweep, table).savefig(folder / f"{sweep.name}.png", dpi=110, bbox_inches="tight")


def markdown(sweep: Sweep, table: list[Row]) -> str:
    """Write a row for each choice on the axes that run down, and a column for each on those that run across.

    If none runs across, the columns are the metrics and the median seconds of `fit`. What others report of a metric
    stands right after it.
    """
    down, across = _layout(sweep)
    cells = {tuple(row[axis] for axis in sweep.axes): row for row in table}
    reported = [metric for metric in sweep.metrics if any(row[f"{metric} reported"] is not None for row in table)]
    heads = list(down)
    for metric in sweep.metrics:
        heads += [", ".join(each.values()) or metric for each in across]
        heads += [f"{metric}, reported"] * (metric in reported)
    heads += ["seconds"] * (not sweep.columns)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for names in itertools.product(*(sweep.axes[axis] for axis in down)):
        values = dict(zip(down, names, strict=True))
        group = [cells[tuple((values | each)[axis] for axis in sweep.axes)] for each in across]
        first = group[0]  # what others report is the same for all, and seconds are shown of one
        line = list(names)
        for metric in sweep.metrics:
            line += [shown(metric, row["values"][metric], 1) for row in group]
            if metric in reported:
                number = first[f"{metric} reported"]
                line.append(shown(metric, [] if number is None else [number], 1))
        if not sweep.columns:
            line.append("-" if first["seconds"] is None else f"{first['seconds']:.0f}")
        lines.append("| " + " | ".join(line) + " |")
    counts = sorted({row["seeds"] for row in table})
    seeds = " to ".join(map(str, sorted({counts[0], counts[-1]}))) + (" seed" if counts == [1] else " seeds")
    by = f" by {', '.join(sweep.columns)}" if sweep.columns else ""
    lines += ["", f"{', '.join(map(_with_unit, sweep.metrics))}{by}; {seeds} a cell."]
    return "\n".join(lines)


def draw(sweep: Sweep, table: list[Row]) -> Figure:
    """Draw a panel for each metric: a line for each row of the table, with a dot for each cell in it."""
    down, _ = _layout(sweep)
    height = math.prod(len(sweep.axes[axis]) for axis in down)
    figure = Figure(figsize=(4.5 + 3.5 * len(sweep.metrics), 1.4 + 0.42 * height), layout="constrained")
    panels = figure.subplots(1, len(sweep.metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, sweep.metrics, strict=True):
        _draw_metric(axes, sweep, table, metric)
    panels[0].set(ylabel=", ".join(down), title=sweep.name)
    return figure


def _draw_metric(axes: Axes, sweep: Sweep, table: list[Row], metric: str) -> None:
    """Draw the dots of a metric, and a cross in each line for what others report."""
    down, across = _layout(sweep)
    factor = 100 if is_share(metric) else 1
    places = {names: -index for index, names in enumerate(itertools.product(*(sweep.axes[axis] for axis in down)))}
    for index, each in enumerate(across):
        shift = 0.3 * (0.5 - (index + 0.5) / len(across)) * 2
        chosen = [row for row in table if all(row[axis] == name for axis, name in each.items())]
        drawn = [row for row in chosen if row[f"{metric} mean"] is not None]
        axes.errorbar(
            [factor * row[f"{metric} mean"] for row in drawn],
            [places[tuple(row[axis] for axis in down)] + shift for row in drawn],
            xerr=[factor * (row[f"{metric} std"] or 0) for row in drawn],
            fmt="o",
            markersize=5,
            color=colormaps["tab10" if len(across) <= 10 else "tab20"](index),
            label=", ".join(f"{axis} {name}" for axis, name in each.items()) or metric,
        )
    numbers = {tuple(row[axis] for axis in down): row[f"{metric} reported"] for row in table}
    reported = {names: factor * number for names, number in numbers.items() if number is not None}
    if reported:
        axes.plot(list(reported.values()), [places[names] for names in reported], "kx", markersize=8, label="reported")
    axes.set_yticks(list(places.values()), [", ".join(names) for names in places])
    axes.set_xlabel(_with_unit(metric))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def _with_unit(metric: str) -> str:
    return f"{metric} in percent" if is_share(metric) else metric


def _layout(sweep: Sweep) -> tuple[list[str], list[dict[str, str]]]:
    """Give the axes that run down, and the choices {axis: name} of each column."""
    down = [axis for axis in sweep.axes if axis not in sweep.columns]
    names = itertools.product(*(sweep.axes[axis] for axis in sweep.columns))
    return down, [dict(zip(sweep.columns, each, strict=True)) for each in names]
