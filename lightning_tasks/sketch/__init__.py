"""Drawings as sequences of strokes: a variational autoencoder that draws, and what judges its drawings."""

from lightning_tasks.sketch.heads import MixtureHead, RegressionHead
from lightning_tasks.sketch.network import SketchNetwork
from lightning_tasks.sketch.plots import SketchPlot
from lightning_tasks.sketch.task import SketchTask

__all__ = ["MixtureHead", "RegressionHead", "SketchNetwork", "SketchPlot", "SketchTask"]
