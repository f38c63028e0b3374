"""Curves of several runs as SVG that stands in a page: its colours follow the page's, and it needs no script."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from lightning_tasks.runs.plot_style import BLACK, COLOURS, DASHES

WIDTH, HEIGHT = 420, 250  # pixels, if it is shown as large as it is
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 40  # margins around the axes
DOTTED_BELOW = 60  # points, as in the plots of a run
SVG_DASHES = {"-": "none", "--": "7 4", ":": "2 3", "-.": "8 3 2 3"}


class Curve(NamedTuple):
    """Values of one run.

    Attributes:
        label: Name of the run.
        run: Its place among the runs, from 0, which decides the look.
        points: Points (x, y); those that are not finite leave a gap.
        tested: Place of the point whose checkpoint was tested; None if it is not known.
    """

    label: str
    run: int
    points: list[tuple[float, float]]
    tested: int | None = None


def look(run: int) -> str:
    """Give the attributes that set the line of a run apart; what is black in other plots has the colour of the text.

    Args:
        run: Its place among the runs, from 0.
    """
    colour = COLOURS[run % len(COLOURS)]
    dashes = SVG_DASHES[DASHES[run // len(COLOURS) % len(DASHES)]]
    return f'color="{"inherit" if colour == BLACK else colour}" stroke-dasharray="{dashes}"'


def sample(run: int) -> str:
    """Draw a short piece of the line of a run, for a legend."""
    return (
        f'<svg class="sample" viewBox="0 0 24 10" width="24" height="10" aria-hidden="true">'
        f'<path d="M0 5H24" {look(run)}/></svg>'
    )


def chart(curves: Sequence[Curve], across: str, up: str) -> str:
    """Draw curves in one pair of axes; a ring marks the tested checkpoint, and each point says its values on hover.

    Args:
        curves: At least one, with a finite point in one of them.
        across: Name and unit of x; epochs have ticks at whole numbers.
        up: Name and unit of y.

    Returns:
        An SVG element.
    """
    finite = [point for curve in curves for point in curve.points if _is_finite(point)]
    right = max(x for x, _ in finite) or 1.0
    low, high = _range([y for _, y in finite])

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * x / right,
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / (high - low),
        )

    parts = []
    for tick in _ticks(0, right, whole=across == "epoch"):
        x, y = place(tick, low)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{tick:.6g}</text>')
    for tick in _ticks(low, high):
        x, y = place(0, tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(across)}</text>'
    )
    for curve in curves:
        parts.append(_line(curve, [place(*point) if _is_finite(point) else None for point in curve.points], across))
    label = escape(f"{up} over {across}: {', '.join(curve.label for curve in curves)}")
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _line(curve: Curve, places: list[tuple[float, float] | None], across: str) -> str:
    """Draw one curve. Places are where its points lie; None leaves a gap."""
    path, pen = "", "M"
    for place in places:
        if place is not None:
            path += f"{pen}{place[0]:.1f} {place[1]:.1f}"
        pen = "L" if place is not None else "M"
    parts = [f'<path class="curve" d="{path}"/>']
    for index, (place, (x, y)) in enumerate(zip(places, curve.points, strict=True)):
        if place is None:
            continue
        said = f"<title>{escape(curve.label)}, {across} {x:.4g}: {y:.4g}</title>"
        at = f'cx="{place[0]:.1f}" cy="{place[1]:.1f}"'
        if len(places) < DOTTED_BELOW:
            parts.append(f'<circle class="dot" {at} r="3.5">{said}</circle>')
        if index == curve.tested:
            parts.append(f'<circle class="tested" {at} r="6">{said}</circle>')
    return f"<g {look(curve.run)}>{''.join(parts)}</g>"


def _is_finite(point: tuple[float, float]) -> bool:
    return all(map(math.isfinite, point))


def _range(values: list[float]) -> tuple[float, float]:
    """Give the ends of an axis, a little beyond the values."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    ticks = MaxNLocator(nbins=5, integer=whole).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]
