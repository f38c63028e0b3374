"""A sweep as CSV, Markdown and a picture."""

import csv
import itertools
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import colormaps
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
        values = [card["metrics"][sweep.metric] for card in group if sweep.metric in card["metrics"]]
        down = {axis: name for axis, name in cell.values.items() if axis not in sweep.columns}
        result.append(
            {
                **cell.values,
                "seeds": len(values),
                "values": values,
                "mean": statistics.mean(values) if values else None,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "seconds": statistics.median(card["seconds"] for card in group) if group else None,
                "reported": sweep.reported_value(down),
            }
        )
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

    If none runs across, the columns are the metric and the median seconds of `fit`.
    """
    down, across = _layout(sweep)
    cells = {tuple(row[axis] for axis in sweep.axes): row for row in table}
    shows_reported = any(row["reported"] is not None for row in table)
    heads = [*down, *(", ".join(each.values()) or sweep.metric for each in across)]
    heads += ["reported"] * shows_reported + ["seconds"] * (not sweep.columns)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for names in itertools.product(*(sweep.axes[axis] for axis in down)):
        values = dict(zip(down, names, strict=True))
        line = list(names)
        for each in across:
            row = cells[tuple((values | each)[axis] for axis in sweep.axes)]
            line.append(shown(sweep.metric, row["values"], 1))
        if shows_reported:
            reported = sweep.reported_value(values)
            line.append(shown(sweep.metric, [] if reported is None else [reported], 1))
        if not sweep.columns:
            line.append("-" if row["seconds"] is None else f"{row['seconds']:.0f}")
        lines.append("| " + " | ".join(line) + " |")
    counts = sorted({row["seeds"] for row in table})
    seeds = " to ".join(map(str, sorted({counts[0], counts[-1]}))) + (" seed" if counts == [1] else " seeds")
    unit = " in percent" if is_share(sweep.metric) else ""
    by = f" by {', '.join(sweep.columns)}" if sweep.columns else ""
    lines += ["", f"{sweep.metric}{unit}{by}; {seeds} a cell."]
    return "\n".join(lines)


def draw(sweep: Sweep, table: list[Row]) -> Figure:
    """Draw a line for each row of the table, a dot for each cell in it, and a cross for what others report."""
    down, across = _layout(sweep)
    factor = 100 if is_share(sweep.metric) else 1
    lines = list(itertools.product(*(sweep.axes[axis] for axis in down)))
    figure = Figure(figsize=(8, 1.4 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots()
    places = {names: -index for index, names in enumerate(lines)}
    for index, each in enumerate(across):
        shift = 0.3 * (0.5 - (index + 0.5) / len(across)) * 2
        drawn = [row for row in table if row["mean"] is not None and all(row[a] == name for a, name in each.items())]
        axes.errorbar(
            [factor * row["mean"] for row in drawn],
            [places[tuple(row[axis] for axis in down)] + shift for row in drawn],
            xerr=[factor * (row["std"] or 0) for row in drawn],
            fmt="o",
            markersize=5,
            color=colormaps["tab10" if len(across) <= 10 else "tab20"](index),
            label=", ".join(f"{axis} {name}" for axis, name in each.items()) or sweep.metric,
        )
    reported = {tuple(row[a] for a in down): row["reported"] for row in table if row["reported"] is not None}
    if reported:
        numbers = [factor * value for value in reported.values()]
        axes.plot(numbers, [places[names] for names in reported], "kx", markersize=8, label="reported")
    axes.set_yticks(list(places.values()), [", ".join(names) for names in lines])
    axes.set(xlabel=sweep.metric + ("" if factor == 1 else " in percent"), ylabel=", ".join(down), title=sweep.name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _layout(sweep: Sweep) -> tuple[list[str], list[dict[str, str]]]:
    """Give the axes that run down, and the choices {axis: name} of each column."""
    down = [axis for axis in sweep.axes if axis not in sweep.columns]
    names = itertools.product(*(sweep.axes[axis] for axis in sweep.columns))
    return down, [dict(zip(sweep.columns, each, strict=True)) for each in names]
