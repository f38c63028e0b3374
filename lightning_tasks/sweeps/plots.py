"""Plots of a sweep: what came of its cells, and when."""

import itertools
import math
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_tasks.runs.formatting import is_share, with_unit
from lightning_tasks.runs.plot_style import COLOURS, DASHES, MARKERS, drawable, styled
from lightning_tasks.sweeps.plan import Sweep

Row = dict[str, Any]  # what came of one cell, as sweeps.report.rows says


@styled
def draw(sweep: Sweep, table: list[Row]) -> Figure:
    """Draw a panel for each metric: a line for each row of the table, with a dot for each cell in it."""
    down, _ = sweep.layout()
    height = math.prod(len(sweep.axes[axis]) for axis in down)
    figure = Figure(figsize=(4.5 + 3.5 * len(sweep.metrics), 1.4 + 0.42 * height), layout="constrained")
    panels = figure.subplots(1, len(sweep.metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, sweep.metrics, strict=True):
        _draw_metric(axes, sweep, table, metric)
    panels[0].set(ylabel=drawable(", ".join(down)), title=drawable(sweep.name))
    return figure


def _draw_metric(axes: Axes, sweep: Sweep, table: list[Row], metric: str) -> None:
    """Draw the dots of a metric, and a cross in each line for what others report."""
    down, across = sweep.layout()
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
            fmt=MARKERS[index // len(COLOURS) % len(MARKERS)],
            markersize=5,
            color=COLOURS[index % len(COLOURS)],
            label=drawable(", ".join(f"{axis} {name}" for axis, name in each.items())),
        )
    numbers = {tuple(row[axis] for axis in down): row[f"{metric} reported"] for row in table}
    reported = {names: factor * number for names, number in numbers.items() if number is not None}
    if reported:
        axes.plot(list(reported.values()), [places[names] for names in reported], "kx", markersize=8, label="reported")
    axes.set_yticks(list(places.values()), [drawable(", ".join(names)) for names in places])
    axes.set_xlabel(with_unit(metric))
    axes.grid()
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


@styled
def draw_trade_off(sweep: Sweep, table: list[Row]) -> Figure:
    """Draw the means of two metrics against each other, with a labelled point for each cell."""
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    factors = [100 if is_share(metric) else 1 for metric in sweep.trade_off]
    for index, row in enumerate(table):
        means = [row[f"{metric} mean"] for metric in sweep.trade_off]
        if None in means:
            continue
        x, y = (factor * mean for factor, mean in zip(factors, means, strict=True))
        axes.plot(x, y, MARKERS[index // len(COLOURS) % len(MARKERS)], color=COLOURS[index % len(COLOURS)])
        label = drawable(", ".join(row[axis] for axis in sweep.axes))
        axes.annotate(label, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    xlabel, ylabel = map(with_unit, sweep.trade_off)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=drawable(sweep.name))
    axes.margins(0.12)
    axes.grid()
    return figure


@styled
def draw_over_time(sweep: Sweep, table: list[Row]) -> Figure:
    """Draw a panel for each metric over the minutes of `fit`: a faint line for each seed, and their mean.

    The mean is one of minutes and values at each validation, as far as all seeds of the cell came.
    """
    figure = Figure(figsize=(3 + 5 * len(sweep.over_time), 4.5), layout="constrained")
    panels = figure.subplots(1, len(sweep.over_time), squeeze=False)[0]
    for axes, (metric, value) in zip(panels, sweep.over_time.items(), strict=True):
        factor = 100 if is_share(metric) else 1
        for index, row in enumerate(table):
            label = drawable(", ".join(row[axis] for axis in sweep.axes))
            look = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index // len(COLOURS) % len(DASHES)]}
            plot_over_time(axes, row["over_time"], metric, label, **look)
        axes.axhline(factor * value, color="grey", linestyle=":", linewidth=1)
        axes.set(xlabel="minutes", ylabel=with_unit(metric), title=drawable(sweep.name))
        axes.grid()
    if panels[0].lines[1:]:
        panels[-1].legend(
            *panels[0].get_legend_handles_labels(), fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    return figure


def plot_over_time(axes: Axes, runs: list[dict[str, list[float]]], metric: str, label: str, **style: Any) -> None:
    """Plot a metric of some seeds over the minutes of `fit`, as draw_over_time says.

    Args:
        axes: Axes to draw on.
        runs: Metrics over time of the run cards, one a seed; cards without the metric are skipped.
        metric: Its name; shares in percent.
        label: Label of the mean.
        **style: Of the lines.
    """
    factor = 100 if is_share(metric) else 1
    curves = [each for each in runs if metric in each]
    drawn = [([t / 60 for t in each["seconds"]], [factor * v for v in each[metric]]) for each in curves]
    for minutes, values in drawn if len(drawn) > 1 else ():
        axes.plot(minutes, values, alpha=0.3, linewidth=0.8, **style)
    if drawn:
        minutes, values = ([*map(mean, zip(*each, strict=False))] for each in zip(*drawn, strict=True))
        axes.plot(minutes, values, label=label, **style)
