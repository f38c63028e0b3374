"""A sketch network whose drawings are known: a spiral, a point each few milliseconds."""

import math
import threading
import time

import numpy as np

from lightning_tasks.drawings import Pen


class Spiral:
    """Draws a spiral of two strokes and notes what it is asked for.

    The latent vector is the drawing's width, and the spiral's last point lies as far out.
    """

    words = ("cat", "apple", "bus", "fish", "umbrella")
    max_length = 300

    def __init__(self, pause=0.002, points=120, ends=True):
        self.pause = pause
        self.points = points
        self.ends = ends
        self.asked = []
        self.steps = 0
        self.threads = set()

    def draw(self, word, temperature, start=(), latent=None, seed=None):
        self.asked.append((word, temperature, start, latent, seed))
        x, y = start[-1][-1].tolist() if len(start) else (0.0, 0.0)
        width = 120.0 if latent is None else float(latent[0])
        for step in range(self.points):
            time.sleep(self.pause)
            self.steps += 1
            self.threads.add(threading.current_thread().name)
            radius = width * step / max(self.points - 1, 1)
            pen = Pen.LIFT if step == self.points // 2 else Pen.DOWN
            yield x + radius * math.cos(step / 6), y + radius * math.sin(step / 6), pen
        if self.ends:
            yield 0.0, 0.0, Pen.END

    def encode(self, word, drawing):
        points = np.concatenate(drawing)
        return np.ptp(points[:, :1], axis=0)

    def between(self, first, second, share):
        return (1 - share) * first + share * second


def expected(spiral):
    """All points that a page is sent of a drawing, rounded as there."""
    points = list(Spiral(0, spiral.points).draw("cat", 1.0))[:-1]
    return [(round(x, 1), round(y, 1), int(pen)) for x, y, pen in points]
