"""What was trained on a GPU is used where there may be none."""

import numpy as np
import pytest
import torch
from helpers.commands import run_card
from helpers.gpu_runs import fit
from helpers.live import DRAW, ask, points
from helpers.systems import finished_run

from lightning_tasks.export import load
from lightning_tasks.export.export import export
from lightning_tasks.sketch.sketcher import Sketcher


def test_export(system_folder):
    fit("data-free", "--trainer.max_epochs=1")
    out, facts = export(str(finished_run(system_folder)), None, False, "MIT", "python cli.py export")
    answers = load(out)(np.zeros((1, *facts["image_shape"]), np.uint8))
    assert answers.shape == (1, 10)
    assert np.isfinite(answers).all()
    assert facts["measured"]["ONNX, float32"]["difference"] < 1e-3


def test_live(system_folder):
    fit("sketches", "--trainer.max_epochs=1")
    sketcher = Sketcher.from_checkpoint(str(finished_run(system_folder)))
    messages = ask(DRAW | {"seed": 1}, sketcher)
    assert messages[-1]["how"] == "finished"
    assert len(points(messages)) > 1


@pytest.mark.parametrize(
    ("option", "tf32", "benchmark"),
    [
        ("accumulate_grad_batches=1", True, True),
        ("benchmark=false", True, False),
        ("deterministic=true", False, False),
    ],
)
def test_the_card_says_how_a_gpu_was_used(option, tf32, benchmark, system_folder):
    fit("classification", f"--trainer.{option}", "--trainer.max_epochs=1")
    card = run_card("x")
    assert card["device"] == f"1 x {torch.cuda.get_device_name()}"
    assert 0 < card["peak_memory_mb"] < torch.cuda.get_device_properties(0).total_memory / 2**20
    assert (card["tf32"], card["cudnn_benchmark"]) == (tf32, benchmark)
