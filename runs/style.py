"""The style of all pictures, in one place: colours that the colour-blind tell apart, and sizes of letters."""

from cycler import cycler
from matplotlib import rc_context

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

styled = rc_context(
    {
        "axes.prop_cycle": cycler(linestyle=DASHES) * cycler(color=COLOURS),
        "axes.titlesize": 11,
        "figure.titlesize": 12,
        "grid.alpha": 0.3,
        "legend.fontsize": 9,
        "legend.frameon": False,
    }
)
"""Decorator of the functions that draw."""
