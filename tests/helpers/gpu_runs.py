"""Runs of the campaign's systems on a GPU, in process."""

import shlex
from pathlib import Path

import pytest
import torch

from helpers.commands import TINY_TRAINER, run_cli
from helpers.systems import SYSTEMS, finished_run, without_averages

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
each_system = pytest.mark.parametrize("name", SYSTEMS)

ON_GPU = [*TINY_TRAINER, "--trainer.accelerator=gpu", "--experiment=x", "--plots=false"]


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
