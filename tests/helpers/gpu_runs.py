"""Runs of the campaign's systems on a GPU, in process."""

import shlex
from pathlib import Path

import pytest
import torch

from helpers.commands import TINY_TRAINER, run_cli
from helpers.systems import SYSTEMS, finished_run, without_averages

each_system = pytest.mark.parametrize("name", SYSTEMS)

ON_GPU = [*TINY_TRAINER, "--trainer.accelerator=gpu", "--experiment=x", "--plots=false"]

# By system: callbacks with their options, and the figures that they leave.
PICTURES = {
    "classification": (
        {
            "ActivationPlot": {"layers": ["network.layer1"]},
            "ChangesPlot": {"control": "teacher.ckpt"},
            "ConfusionPlot": {},
            "CurvesPlot": {},
            "FiltersPlot": {},
            "PredictionsPlot": {},
            "ReliabilityPlot": {},
            "TSNEPlot": {"layer": "network.layer1"},
            "TestCurve": {},
        },
        "activations_0001 changes confusion curves filters_network mistakes predictions reliability"
        " tsne_network.layer1_0001",
    ),
    "data-free": (
        {"AgreementPlot": {}, "GeneratedPlot": {"every_n_epochs": 1, "num_images": 16}, "SelectionPlot": {}},
        "agreement generated_0001 selection",
    ),
    "image folder": ({"LearningRateRange": {"num_training_steps": 5}}, "learning_rates"),
    "multi-task": ({"ErrorKindsPlot": {}, "MistakesBySeverityPlot": {}}, "errors mistakes_by_severity"),
    "sketches": ({"SketchPlot": {}}, "sketches_0001"),
}


def words(name, *options):
    """Give the options of a system's short run on a GPU; others win over them."""
    found = [*shlex.split(SYSTEMS[name]), *ON_GPU, *options]
    return without_averages(found) if "--trainer.precision=bf16-true" in options else found


def fit(name, *options):
    """Train a system in the current folder, which must end with finite weights and metrics; returns the CLI object."""
    done = run_cli("fit", *words(name, *options))
    assert done.trainer.strategy.root_device.type == "cuda"
    weights = torch.load(finished_run(Path.cwd()) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for each, value in [*weights.items(), *done.trainer.callback_metrics.items()]:
        assert value.isfinite().all(), each
    return done
