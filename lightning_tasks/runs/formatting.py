"""Metrics, times and hardware as tables show them."""

import re
import statistics
from collections.abc import Sequence

COSTS = ("loss", "nll", "divergence", "severity", "cost", "distance")
GOOD_SHARES = ("acc", "agreement", "recognised", "precision", "recall")
BAD_SHARES = ("inconsistent", "endless")
REFERENCES = ("_real", "_redrawn")  # of the data, to judge other values by


def is_share(metric: str) -> bool:
    """Say whether a metric lies in [0, 1], to be shown in percent; losses, distances, costs and steps do not."""
    return not any(word in metric for word in (*COSTS, "steps"))


def better(metric: str) -> int:
    """Say in which direction a metric improves.

    Args:
        metric: Its name.

    Returns:
        1 if more is better, -1 if less is, 0 if neither is known.
    """
    if metric.endswith(REFERENCES):
        return 0
    if any(word in metric for word in (*COSTS, *BAD_SHARES)):
        return -1
    return 1 if any(word in metric for word in GOOD_SHARES) else 0


def shown(metric: str, values: Sequence[float], digits: int = 2) -> str:
    """Write a metric as its mean and standard deviation over seeds; a dash without any value.

    Args:
        metric: Its name, which tells shares from losses.
        values: One a seed.
        digits: Decimals of a percentage; a loss has four.
    """
    if not values:
        return "-"
    factor, digits = (100, digits) if is_share(metric) else (1, 4)
    mean = f"{factor * statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {factor * statistics.stdev(values):.{digits}f}"


def with_unit(metric: str) -> str:
    """Name a metric as an axis does."""
    return f"{metric} in percent" if is_share(metric) else metric


def duration(seconds: float) -> str:
    """Write a time as one number with its unit: "80 s", "12 min", "2.1 h", "3.5 days"."""
    for unit, length, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def hardware(device: str) -> str:
    """Name the hardware of a run card: "2 CPU cores" for "1 x CPU, 2 threads"; a GPU is left as it is."""
    threads = re.fullmatch(r"1 x CPU, (\d+) threads", device)
    return device if threads is None else f"{threads[1]} CPU core{'s' * (threads[1] != '1')}"
