"""Drawings as images: pixels and SVG."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from lightning_tasks.drawings.steps import Drawing

OVERSAMPLING = 4  # Pillow's lines have hard edges


def render(drawing: Drawing, size: int, margin: float = 0.08, line_width: float = 0.045) -> np.ndarray:
    """Draw strokes into the middle of a square, as large as they fit.

    Args:
        drawing: Strokes (n, 2), in any unit.
        size: Pixels of a side.
        margin: Left free at each side, as a share of a side.
        line_width: Width of the lines as a share of a side.

    Returns:
        Ink of each pixel, 0 (paper) to 255. Shape (size, size), uint8.
    """
    side = size * OVERSAMPLING
    image = Image.new("L", (side, side))
    points = np.concatenate(drawing) if drawing else np.zeros((1, 2), np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (1 - 2 * margin) * side / max(float((high - low).max()), 1e-6)
    pen = ImageDraw.Draw(image)
    for stroke in drawing:
        line = (stroke - (low + high) / 2) * scale + side / 2
        pen.line([tuple(point) for point in line.tolist()], fill=255, width=round(line_width * side), joint="curve")
    return np.asarray(image.reduce(OVERSAMPLING))


def render_all(drawings: Sequence[Drawing], size: int) -> np.ndarray:
    """Draw each of some drawings. Shape (N, size, size), uint8."""
    return np.stack([render(drawing, size) for drawing in drawings])
