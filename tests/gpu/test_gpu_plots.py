"""Every picture of a run on a GPU."""

import json

import pytest
from helpers.gpu_runs import PICTURES, fit
from helpers.systems import finished_run
from PIL import Image


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
