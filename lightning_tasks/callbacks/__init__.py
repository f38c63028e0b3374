"""Callbacks: pictures and files of a run. They use public attributes of tasks only."""

from lightning_tasks.callbacks.activations import ActivationPicture
from lightning_tasks.callbacks.answers import PredictionsPicture, ReliabilityPicture
from lightning_tasks.callbacks.clock import Clock
from lightning_tasks.callbacks.comparison import AgreementPicture, ChangesPicture
from lightning_tasks.callbacks.confusion import ConfusionPicture
from lightning_tasks.callbacks.curves import CurvesPicture
from lightning_tasks.callbacks.custom_scalars import CustomScalars
from lightning_tasks.callbacks.early_stopping import TieAwareEarlyStopping
from lightning_tasks.callbacks.error_kinds import ErrorKindsPicture
from lightning_tasks.callbacks.filters import FiltersPicture
from lightning_tasks.callbacks.first_lines import FirstLines
from lightning_tasks.callbacks.generated import GeneratedPicture
from lightning_tasks.callbacks.graph import NetworkGraph
from lightning_tasks.callbacks.learning_rates import LearningRates
from lightning_tasks.callbacks.mistakes import MistakesBySeverityPicture
from lightning_tasks.callbacks.pictures import Picture, SeriesPicture
from lightning_tasks.callbacks.predictions import PredictionWriter
from lightning_tasks.callbacks.progress import CompactProgressBar, ProgressLines
from lightning_tasks.callbacks.rate_range import LearningRateRange
from lightning_tasks.callbacks.run_card import RunCard
from lightning_tasks.callbacks.selection import SelectionPicture
from lightning_tasks.callbacks.sketches import SketchPicture
from lightning_tasks.callbacks.standard import standard_callbacks
from lightning_tasks.callbacks.summary import NetworkSummary
from lightning_tasks.callbacks.test_curve import TestCurve
from lightning_tasks.callbacks.tsne import TSNEPicture

__all__ = [
    "ActivationPicture",
    "AgreementPicture",
    "ChangesPicture",
    "Clock",
    "CompactProgressBar",
    "ConfusionPicture",
    "CurvesPicture",
    "CustomScalars",
    "ErrorKindsPicture",
    "FiltersPicture",
    "FirstLines",
    "GeneratedPicture",
    "LearningRateRange",
    "LearningRates",
    "MistakesBySeverityPicture",
    "NetworkGraph",
    "NetworkSummary",
    "Picture",
    "PredictionWriter",
    "PredictionsPicture",
    "ProgressLines",
    "ReliabilityPicture",
    "RunCard",
    "SelectionPicture",
    "SeriesPicture",
    "SketchPicture",
    "TSNEPicture",
    "TestCurve",
    "TieAwareEarlyStopping",
    "standard_callbacks",
]
