"""Runs on one page: a file that holds all that it shows, needs no network and runs no script."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path

from lightning_tasks.compare.cards import Card, without_paths
from lightning_tasks.compare.chart import Curve, chart, sample
from lightning_tasks.compare.figures import Embedded, Figures, embed
from lightning_tasks.compare.table import metric_rows, number, option_rows, short_names, value
from lightning_tasks.drawings.page import PARTS
from lightning_tasks.runs.atomic_writes import megabytes
from lightning_tasks.runs.formatting import better, is_share, with_unit

TEMPLATE = Path(__file__).with_name("page.html")
LIMIT = 500_000  # bytes of a page of up to three runs; of more, in proportion
FACTS = {
    "experiment": "experiment",
    "seed": "seed",
    "best_epoch": "tested epoch",
    "epochs": "epochs",
    "seconds": "seconds of training",
    "peak_memory_mb": "peak memory in MiB",
    "device": "device",
    "precision": "precision",
    "teacher_ckpt": "teacher",
    "date": "date",
    "parameters_trained": "parameters trained",
}


def make_page(cards: Mapping[str, Card]) -> str:
    """Make the page: metrics, options that differ, cost, curves, plots and commands.

    Args:
        cards: At least one, by the run's folder, or by the card's file if there are no plots beside it.

    Returns:
        HTML of at most 500 kB for up to three runs, in UTF-8; plots that find no room are named.
    """
    names, all_cards = short_names(cards), list(cards.values())
    experiments = ", ".join(dict.fromkeys(card["experiment"] for card in all_cards))
    metrics = metric_rows(cards)
    options = option_rows(cards)
    parts = {
        "title": escape(f"{experiments}: {len(names)} run{'s' if len(names) > 1 else ''}"),
        "page.css": (PARTS / "page.css").read_text(encoding="utf-8"),
        "metrics": _table(
            names,
            {name: [*map(number, values)] for name, values in metrics.items()},
            {name: best(name, values) for name, values in metrics.items()},
        ),
        "options": _table(names, options) if options else "<p>None.</p>",
        "facts": _table(names, facts(all_cards)),
        "curves": _charts(names, all_cards),
        "commands": "".join(
            _command(index, name, card) for index, (name, card) in enumerate(zip(names, all_cards, strict=True))
        ),
    }
    figures, earlier = find_figures(cards)
    paths = [path for each in figures.values() for path in each.values()]
    limit = LIMIT * max(3, len(names)) // 3
    bare = _plots(names, figures, Embedded(dict.fromkeys(paths, ""), {}, [], []), earlier, limit)
    room = limit - _size(_fill(parts | {"plots": bare})) - 1000  # for what is scaled or left out
    parts["plots"] = _plots(names, figures, embed(figures, room), earlier, limit)
    return _fill(parts)


def _fill(parts: Mapping[str, str]) -> str:
    """Put the parts into the template; what looks like a place within a part stays as it is."""
    return re.sub(r"\{\{(.+?)\}\}", lambda place: parts[place[1]], TEMPLATE.read_text(encoding="utf-8"))


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def best(metric: str, values: Sequence[float | None]) -> set[int]:
    """Find the best values of a metric; those that are written alike are equally good.

    Args:
        metric: Its name.
        values: One a run; None, or nan, where there is none.

    Returns:
        Their places; none if it is not known whether more or less is better, or there are fewer than two values.
    """
    scores = {
        place: better(metric) * float(number(each))
        for place, each in enumerate(values)
        if each is not None and not math.isnan(each)
    }
    if not better(metric) or len(scores) < 2:
        return set()
    return {place for place, score in scores.items() if score == max(scores.values())}


def facts(cards: Sequence[Card]) -> dict[str, list[str]]:
    """Give what each card says of the training: tested epoch, cost, device; a dash where it says nothing."""
    rows = {label: [without_paths(card).get(name) for card in cards] for name, label in FACTS.items()}
    for network in sorted({name for card in cards for name in card["parameters"]}):
        rows[f"parameters, {network}"] = [card["parameters"].get(network) for card in cards]
    return {
        label: [
            "-" if each is None else f"{each:,}" if isinstance(each, int) and label != "seed" else str(each)
            for each in row
        ]
        for label, row in rows.items()
        if any(each is not None for each in row)
    }


def _table(
    names: Sequence[str], rows: Mapping[str, Sequence[str]], bold: Mapping[str, Collection[int]] | None = None
) -> str:
    """Write a table with a column for each run; all of it is text, and is escaped here."""
    heads = "".join(f"<th scope=col>{sample(index)}{escape(name)}" for index, name in enumerate(names))
    lines = [f"<thead><tr><td>{heads}<tbody>"]
    for label, cells in rows.items():
        chosen = bold[label] if bold else ()
        line = (f"<td{' class=best' if place in chosen else ''}>{escape(cell)}" for place, cell in enumerate(cells))
        lines.append(f"<tr><th scope=row>{escape(label)}{''.join(line)}")
    text = "\n".join(lines)
    return f'<div class=wide tabindex=0><table style="--runs: {len(names)}">{text}</table></div>'


def _charts(names: Sequence[str], cards: Sequence[Card]) -> str:
    """Draw each metric that the cards keep over time, over epochs and over minutes."""
    metrics = sorted({name for card in cards for name in card.get("over_time", {})} - {"seconds"})
    legend = "".join(f"<li>{sample(index)}{escape(name)}" for index, name in enumerate(names))
    lines = [f"<ul class=legend>{legend}</ul><p>A ring marks the tested epoch.</p>"]
    for metric in metrics:
        lines.append(f"<h3>{escape(with_unit(metric))}</h3><div class=charts>")
        for across in ("epoch", "minutes"):
            drawn = curves(names, cards, metric, across)
            if any(map(math.isfinite, (y for each in drawn for _, y in each.points))):
                lines.append(chart(drawn, across, with_unit(metric)))
        lines.append("</div>")
    for name, card in zip(names, cards, strict=True):
        if len(card.get("over_time", {})) < 2:
            lines.append(f"<p>The card of {escape(name)} keeps no metric over time.</p>")
        elif epochs_of(card) is None:
            lines.append(f"<p>The card of {escape(name)} does not tell in which epochs it was validated.</p>")
    return "\n".join(lines)


def curves(names: Sequence[str], cards: Sequence[Card], metric: str, across: str) -> list[Curve]:
    """Give the curve of each run whose card keeps a metric over time.

    Args:
        names: Of the runs.
        cards: Of the runs.
        metric: Its name; shares become percent.
        across: Unit of x, "epoch" or "minutes"; a run whose epochs are not known has no curve over them.
    """
    found = []
    for run, (name, card) in enumerate(zip(names, cards, strict=True)):
        over_time, epochs = card.get("over_time", {}), epochs_of(card)
        at = epochs if across == "epoch" else [second / 60 for second in over_time.get("seconds", [])]
        if metric in over_time and at is not None:
            factor = 100 if is_share(metric) else 1
            points = [(x, factor * y) for x, y in zip(at, over_time[metric], strict=True)]
            tested = epochs.index(card["best_epoch"]) if epochs and card.get("best_epoch") in epochs else None
            found.append(Curve(name, run, points, tested))
    return found


def epochs_of(card: Card) -> list[int] | None:
    """Give the epoch, from 1, of each validation in a card; None if there was not one every so many epochs."""
    every = value(card, "trainer.check_val_every_n_epoch")
    step = every if isinstance(every, int) and every > 0 else 1
    epochs = [step * count for count, _ in enumerate(card.get("over_time", {}).get("seconds", []), 1)]
    return epochs if epochs and epochs[-1] == card.get("epochs") else None


def find_figures(cards: Mapping[str, Card]) -> tuple[Figures, int]:
    """Find the plots of runs, the curves first; of a series over epochs the last one.

    Args:
        cards: By the run's folder, in which `figures` are.

    Returns:
        The plots, and how many earlier ones of a series there are.
    """
    found: Figures = {}
    count = 0
    for run, folder in enumerate(cards):
        for path in sorted(Path(folder, "figures").glob("*.png")):
            count += 1
            found.setdefault(re.sub(r"_\d{4,}$", "", path.stem), {})[run] = path
    figures = {name: found[name] for name in sorted(found, key=lambda name: (name != "curves", name))}
    return figures, count - sum(map(len, figures.values()))


def _plots(names: Sequence[str], figures: Figures, embedded: Embedded, earlier: int, limit: int) -> str:
    """Put the plots of one name side by side, and say what is not on the page."""
    if not figures:
        return "<p>There are none beside the cards.</p>"
    lines = ["<p>Click a plot to enlarge it.</p>"]
    if earlier:
        lines.append(f"<p>Of each series over epochs only the last plot is shown; left out: {earlier}.</p>")
    if embedded.scaled:
        sides = ", ".join(f"{name} to {side}" for name, side in embedded.scaled.items())
        lines.append(f"<p>Scaled down to so many pixels a side: {escape(sides)}</p>")
    said = {path: f"{names[run]}/figures/{path.name}" for each in figures.values() for run, path in each.items()}
    for paths, why in (
        (embedded.left_out, f"Left out, since a page of {len(names)} has at most {megabytes(limit)}"),
        (embedded.unreadable, "Left out, since they cannot be read"),
    ):
        if paths:
            lines.append(f"<p>{why}: {escape(', '.join(said[path] for path in paths))}</p>")
    for name, runs in figures.items():
        there = {run: path for run, path in runs.items() if path in embedded.uris}
        if there:
            drawn = "".join(_figure(run, names[run], path, embedded.uris[path]) for run, path in there.items())
            lines.append(f"<h3>{escape(name.replace('_', ' '))}</h3><div class=plots>{drawn}</div>")
    return "\n".join(lines)


def _figure(run: int, name: str, path: Path, uri: str) -> str:
    label = escape(f"{path.stem} of {name}")
    return (
        f'<figure><label><input type=checkbox aria-label="enlarge {label}"><img alt="{label}" src="{uri}"></label>'
        f"<figcaption>{sample(run)}{escape(name)}</figcaption></figure>"
    )


def _command(run: int, name: str, card: Card) -> str:
    """Write the command that repeats a run, and the code that it was a run of."""
    return f"<h3>{escape(name)}</h3><pre>{escape(card['command'])}</pre><p>Commit {escape(str(card['commit']))}</p>"
