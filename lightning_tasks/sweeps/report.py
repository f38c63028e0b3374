"""A sweep as CSV and Markdown, beside its plots."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_tasks.runs.atomic_writes import write_atomic, write_table
from lightning_tasks.runs.formatting import duration, hardware, is_share, shown, with_unit
from lightning_tasks.runs.plot_style import save_plot
from lightning_tasks.sweeps.plan import Sweep
from lightning_tasks.sweeps.plots import Row, draw, draw_over_time, draw_trade_off

Card = dict[str, Any]


def rows(sweep: Sweep, cards: Iterable[Card], hashes: Mapping[str, str]) -> list[Row]:
    """Summarise the run cards of each cell: mean and standard deviation over seeds, None where there are too few.

    Args:
        sweep: The sweep.
        cards: Any run cards; those of other runs are skipped, and of two runs with one seed the newer counts.
        hashes: Configuration hash of each cell by its folder; cards of another configuration are skipped.
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
        timed = timed_alike(group)
        row["seconds"] = statistics.median(card["seconds"] for card in timed) if timed else None
        row["devices"] = {card["device"] for card in timed}
        row["over_time"] = [card["over_time"] for card in timed if "over_time" in card]
        for metric, value in sweep.over_time.items():
            times = [_reached(each, metric, value) for each in row["over_time"] if metric in each]
            row[_until(metric, value)] = statistics.median(times) if times else None
        result.append(row)
    return result


def timed_alike(group: list[Card]) -> list[Card]:
    """Keep the cards of the most frequent device and precision, whose times can be compared."""
    kinds = Counter((card["device"], card.get("precision")) for card in group)
    most = max(kinds, key=kinds.__getitem__, default=None)  # the first of several
    return [card for card in group if (card["device"], card.get("precision")) == most]


def _reached(over_time: dict[str, list[float]], metric: str, value: float) -> float:
    """Give the seconds after which a metric was first as good as a value; infinity if it never was."""
    sign = 1 if is_share(metric) else -1  # costs are better if they are less
    pairs = zip(over_time["seconds"], over_time[metric], strict=True)
    return next((seconds for seconds, reached in pairs if sign * reached >= sign * value), math.inf)


def _until(metric: str, value: float) -> str:
    return f"seconds to {metric} {shown(metric, [value], 0)}"


def _time(value: float | None) -> str:
    return "-" if value is None else "never" if value == math.inf else duration(value)


def write(sweep: Sweep, table: list[Row], folder: Path) -> None:
    """Write `<name>.csv`, `.md`, `.png` and, if the sweep asks, `<name>_over_time.png` and `<name>_trade_off.png`."""
    names = [name for name in table[0] if name not in ("values", "devices", "over_time")]
    values = ([row.get(name, "") for name in names] for row in table)
    rows = [[f"{value:.4g}" if isinstance(value, float) else value for value in row] for row in values]
    write_table(folder / f"{sweep.name}.csv", [names, *rows])
    write_atomic(folder / f"{sweep.name}.md", markdown(sweep, table) + "\n")
    save_plot(draw(sweep, table), folder / f"{sweep.name}.png", dpi=110)
    if sweep.over_time:
        save_plot(draw_over_time(sweep, table), folder / f"{sweep.name}_over_time.png", dpi=110)
    if sweep.trade_off:
        save_plot(draw_trade_off(sweep, table), folder / f"{sweep.name}_trade_off.png", dpi=110)


def markdown(sweep: Sweep, table: list[Row]) -> str:
    """Write a row for each choice on the axes that run down, and a column for each on those that run across.

    If none runs across, the columns are the metrics and median times, of `fit` and until a value was reached. What
    others report of a metric stands right after it.
    """
    down, across = sweep.layout()
    cells = {tuple(row[axis] for axis in sweep.axes): row for row in table}
    reported = [metric for metric in sweep.metrics if any(row[f"{metric} reported"] is not None for row in table)]
    heads = list(down)
    for metric in sweep.metrics:
        heads += [", ".join(each.values()) or metric for each in across]
        heads += [f"{metric}, reported"] * (metric in reported)
    times = ["seconds", *(_until(*each) for each in sweep.over_time.items())] if not sweep.columns else []
    heads += [each.replace("seconds", "time") for each in times]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for names in itertools.product(*(sweep.axes[axis] for axis in down)):
        values = dict(zip(down, names, strict=True))
        group = [cells[tuple((values | each)[axis] for axis in sweep.axes)] for each in across]
        first = group[0]  # what others report is the same for all, and times are shown of one
        line = list(names)
        for metric in sweep.metrics:
            line += [shown(metric, row["values"][metric], 1) for row in group]
            if metric in reported:
                number = first[f"{metric} reported"]
                line.append(shown(metric, [] if number is None else [number], 1))
        line += [_time(first[each]) for each in times]
        lines.append("| " + " | ".join(line) + " |")
    counts = sorted({row["seeds"] for row in table})
    seeds = " to ".join(map(str, sorted({counts[0], counts[-1]}))) + (" seed" if counts == [1] else " seeds")
    units = "Accuracies in percent" if any(map(is_share, sweep.metrics)) else ""
    if sweep.columns:  # no head names the metric
        units = f"{', '.join(map(with_unit, sweep.metrics))} by {', '.join(sweep.columns)}"
    devices = set().union(*(row["devices"] for row in table))
    on = f"median time of a run, on {' or '.join(sorted(map(hardware, devices)))}" if times and devices else ""
    lines += ["", "; ".join(filter(None, (units, f"{seeds} per cell", on))) + "."]
    return "\n".join(lines)
