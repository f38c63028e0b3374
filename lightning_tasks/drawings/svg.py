"""Drawings as SVG."""

import numpy as np

from lightning_tasks.drawings.steps import Drawing

MARGIN = 0.08  # left free at each side, as a share of a side
LINE_WIDTH = 0.02  # as a share of a side


def square(drawing: Drawing) -> tuple[float, float, float]:
    """Find the square that a drawing lies in the middle of, with a margin.

    Returns:
        Left and upper end, and the side, in the units of the drawing.
    """
    points = np.concatenate(drawing) if drawing else np.zeros((1, 2), np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()), 1.0) / (1 - 2 * MARGIN)
    left, top = ((low + high - side) / 2).tolist()
    return left, top, side


def to_svg(drawing: Drawing, size: int) -> str:
    """Write strokes as lines with round ends, black on white, in their own coordinates.

    Args:
        drawing: Strokes (n, 2), in any unit, x to the right and y downwards.
        size: Width and height, in pixels.
    """
    left, top, side = square(drawing)
    lines = [" ".join(f"{x:.2f},{y:.2f}" for x, y in stroke.tolist()) for stroke in drawing]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}"'
            f' viewBox="{left:.2f} {top:.2f} {side:.2f} {side:.2f}">',
            f'<rect x="{left:.2f}" y="{top:.2f}" width="{side:.2f}" height="{side:.2f}" fill="white"/>',
            f'<g fill="none" stroke="black" stroke-width="{LINE_WIDTH * side:.2f}" stroke-linecap="round"'
            ' stroke-linejoin="round">',
            *(f'<polyline points="{line}"/>' for line in lines),
            "</g>",
            "</svg>\n",
        ]
    )
