"""Runs of the campaign's systems on a GPU, in process."""

import shlex
from pathlib import Path

import pytest
import torch
from conftest import run_cli
from systems import LIMITS, SYSTEMS, finished_run

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
each_system = pytest.mark.parametrize("name", SYSTEMS)


def run(command, name, *options):
    """Run a system; returns the command line's object."""
    return run_cli(command, *shlex.split(SYSTEMS[name]), *LIMITS, "--trainer.accelerator=gpu", *options)


def fit(name, *options):
    """Train a system in the current folder; returns the run's folder.

    It must end with finite weights and metrics.
    """
    done = run("fit", name, *options)
    assert done.trainer.strategy.root_device.type == "cuda"
    folder = finished_run(Path.cwd())
    weights = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for each, value in [*weights.items(), *done.trainer.callback_metrics.items()]:
        assert value.isfinite().all(), each
    return folder
