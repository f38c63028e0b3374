"""Every picture of a run on a GPU."""

import inspect
import json

import pytest
from gpu_runs import fit, needs_gpu
from PIL import Image
from systems import finished_run

from lightning_tasks import callbacks
from lightning_tasks.callbacks import CustomScalars, NetworkGraph, Picture, SeriesPicture

# By system: callbacks with their options, and the figures that they leave.
PICTURES = {
    "classification": (
        {
            "ActivationPicture": {"layers": ["network.layer1"]},
            "ChangesPicture": {"control": "teacher.ckpt"},
            "ConfusionPicture": {},
            "CurvesPicture": {},
            "FiltersPicture": {},
            "PredictionsPicture": {},
            "ReliabilityPicture": {},
            "TSNEPicture": {"layer": "network.layer1"},
            "TestCurve": {},
        },
        "activations_0001 changes confusion curves filters_network mistakes predictions reliability"
        " tsne_network.layer1_0001",
    ),
    "data-free": (
        {"AgreementPicture": {}, "GeneratedPicture": {"every_n_epochs": 1, "num_images": 16}, "SelectionPicture": {}},
        "agreement generated_0001 selection",
    ),
    "image folder": ({"LearningRateRange": {"num_training_steps": 5}}, "learning_rates"),
    "multi-task": ({"ErrorKindsPicture": {}, "MistakesBySeverityPicture": {}}, "errors mistakes_by_severity"),
    "sketches": ({"SketchPicture": {}}, "sketches_0001"),
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
        "--pictures=true",
        "--trainer.max_epochs=1",
    )
    for each in figures.split():
        with Image.open(finished_run(system_folder) / f"figures/{each}.png") as picture:
            assert len(set(picture.convert("RGB").getdata())) > 20, each


def test_no_picture_is_left_out():
    exported = {name for name, each in inspect.getmembers(callbacks, inspect.isclass) if issubclass(each, Picture)}
    standing = {each.__name__ for each in (Picture, SeriesPicture, NetworkGraph, CustomScalars)}
    assert exported - standing <= {each for drawing, _ in PICTURES.values() for each in drawing}
