"""Callbacks: plots and files of a run. They use public attributes of tasks only."""

from lightning_tasks.callbacks.activations import ActivationPlot
from lightning_tasks.callbacks.answers import PredictionsPlot, ReliabilityPlot
from lightning_tasks.callbacks.clock import Clock
from lightning_tasks.callbacks.confusion import ConfusionPlot
from lightning_tasks.callbacks.curves import CurvesPlot
from lightning_tasks.callbacks.custom_scalars import CustomScalars
from lightning_tasks.callbacks.early_stopping import TieAwareEarlyStopping
from lightning_tasks.callbacks.filters import FiltersPlot
from lightning_tasks.callbacks.first_lines import FirstLines
from lightning_tasks.callbacks.graph import NetworkGraph
from lightning_tasks.callbacks.learning_rates import LearningRates
from lightning_tasks.callbacks.plots import PeriodicPlot, Plot, SeriesPlot
from lightning_tasks.callbacks.predictions import PredictionWriter
from lightning_tasks.callbacks.progress import CompactProgressBar, ProgressLines
from lightning_tasks.callbacks.rate_range import LearningRateRange
from lightning_tasks.callbacks.run_card import RunCard
from lightning_tasks.callbacks.standard import standard_callbacks
from lightning_tasks.callbacks.summary import NetworkSummary
from lightning_tasks.callbacks.test_curve import TestCurve
from lightning_tasks.callbacks.tsne import TSNEPlot

__all__ = [
    "ActivationPlot",
    "Clock",
    "CompactProgressBar",
    "ConfusionPlot",
    "CurvesPlot",
    "CustomScalars",
    "FiltersPlot",
    "FirstLines",
    "LearningRateRange",
    "LearningRates",
    "NetworkGraph",
    "NetworkSummary",
    "PeriodicPlot",
    "Plot",
    "PredictionWriter",
    "PredictionsPlot",
    "ProgressLines",
    "ReliabilityPlot",
    "RunCard",
    "SeriesPlot",
    "TSNEPlot",
    "TestCurve",
    "TieAwareEarlyStopping",
    "standard_callbacks",
]
