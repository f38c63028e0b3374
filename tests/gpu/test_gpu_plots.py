"""Every picture of a run on a GPU."""

import inspect
import json

import pytest
from helpers.gpu_runs import fit, needs_gpu
from helpers.systems import finished_run
from PIL import Image

from lightning_tasks import callbacks
from lightning_tasks.callbacks import CustomScalars, NetworkGraph, PeriodicPlot, Plot, SeriesPlot

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


@needs_gpu
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_drawn(name, system_folder):
    """In a precision that NumPy has not."""
    drawing, figures = PICTURES[name]
    given = json.dumps([{"class_path": each, "init_args": options} for each, options in drawing.items()])
    fit(
        name,
        f"--trainer.callbacks={given}",
        "--trainer.precision=bf16-true",
        "--plots=true",
        "--trainer.max_epochs=1",
    )
    for each in figures.split():
        with Image.open(finished_run(system_folder) / f"figures/{each}.png") as picture:
            assert len(set(picture.convert("RGB").getdata())) > 20, each


def test_no_picture_is_left_out():
    exported = {name for name, each in inspect.getmembers(callbacks, inspect.isclass) if issubclass(each, Plot)}
    standing = {each.__name__ for each in (Plot, SeriesPlot, PeriodicPlot, NetworkGraph, CustomScalars)}
    assert exported - standing <= {each for drawing, _ in PICTURES.values() for each in drawing}
