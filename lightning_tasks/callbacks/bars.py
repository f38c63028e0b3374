"""Stacked bars, with their numbers on them."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lightning_tasks.callbacks.plots import add_axes
from lightning_tasks.runs.plot_style import styled

SIZE = 9.0  # of letters, in points
Segment = tuple[float, str]  # its length, and what stands on it where there is room


@styled
def draw_stacked_bars(
    rows: Mapping[str, Sequence[Segment]], kinds: Mapping[str, tuple[str, str]], title: str, label: str
) -> Figure:
    """Draw a horizontal bar for each row, stacked of the same kinds of parts.

    Args:
        rows: For each name the length of each kind; none negative.
        kinds: For each name in the legend the colour of its bars and of the text on them.
        title: Above all.
        label: Label of the axis of lengths.
    """
    # All in inches: the names, the bars; below them their axis, above the legend and the title.
    columns = 2 if len(kinds) == 4 else 3
    beside, wide, high = 0.25 + max(map(len, rows)) * SIZE / 125, 5.0, 0.42 * len(rows)
    figure = Figure(figsize=(beside + wide + 0.2, high + 0.95 + 0.2 * -(-len(kinds) // columns)))
    axes = add_axes(figure, beside, 0.55, wide, high)
    longest = max(sum(length for length, _ in parts) for parts in rows.values()) or 1.0
    starts = [0.0] * len(rows)
    for index, (kind, (colour, ink)) in enumerate(kinds.items()):
        lengths = [parts[index][0] for parts in rows.values()]
        axes.barh(range(len(rows)), lengths, left=starts, height=0.72, color=colour, label=kind)
        for row, parts in enumerate(rows.values()):
            length, text = parts[index]
            if length / longest * wide > (len(text) + 1) * SIZE / 125:
                axes.text(starts[row] + length / 2, row, text, ha="center", va="center", color=ink, size=SIZE)
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]
    axes.set_yticks(range(len(rows)), list(rows), size=SIZE)
    axes.set(xlim=(0, 1.02 * longest), ylim=(len(rows) - 0.5, -0.5), xlabel=label)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=SIZE, frameon=False, borderaxespad=0.2)
    figure.suptitle(title, size=11)
    return figure
