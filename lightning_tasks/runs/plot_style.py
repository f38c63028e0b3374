"""The style of all plots, in one place: colours that the colour-blind tell apart, sizes of letters, plain text."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cycler import cycler
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from lightning_tasks.runs.atomic_writes import write_atomic

# Okabe and Ito 2008, "Color universal design", https://jfly.uni-koeln.de/color/; without yellow, pale on white.
BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, BLACK = COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#000000",
)
MARKERS = "osD^v"  # where colours repeat
DASHES = ("-", "--", ":", "-.")
# Fonts with the letters that matplotlib's own lacks, as systems and their packages name them.
FALLBACKS = (
    *(f"Noto Sans CJK {region}" for region in ("SC", "TC", "JP", "KR")),
    *("Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic", "Nirmala UI"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS", "Droid Sans Fallback"),
    *("Noto Sans Devanagari", "Noto Sans Thai"),
)


def families(first: str = "sans-serif") -> list[str]:
    """List a family of fonts and the fallbacks that are installed; a letter is drawn in the first that has it."""
    installed = set(fontManager.get_font_names())
    return [first, *(name for name in FALLBACKS if name in installed)]


@contextmanager
def _style() -> Iterator[None]:
    with rc_context(
        {
            "axes.prop_cycle": cycler(linestyle=DASHES) * cycler(color=COLOURS),
            "axes.titlesize": 11,
            "figure.titlesize": 12,
            "font.family": families(),
            "grid.alpha": 0.3,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "text.parse_math": False,  # a class may be called "$5"
        }
    ):
        yield


styled = _style()
"""Decorator of the functions that draw."""


def drawable(text: str) -> str:
    r"""Escape the characters that no font at hand can draw, as "\u732b"."""
    if text.isascii() and text.isprintable():
        return text
    fonts = [get_font(findfont(FontProperties(family=[name]))) for name in families()]
    can = [character.isprintable() and any(font.get_char_index(ord(character)) for font in fonts) for character in text]
    return "".join(
        character if drawn else character.encode("unicode_escape").decode()
        for character, drawn in zip(text, can, strict=True)
    )


@styled
def save_plot(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as PNG, see `write_atomic`."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, bbox_inches="tight")
    write_atomic(path, content.getbuffer())
