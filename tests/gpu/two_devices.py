"""What each of two processes does, on a GPU of its own: train every system, and compare the weights.

It is not collected: test_gpu_two_devices.py starts it.
"""

import os
from datetime import timedelta
from functools import cache

import pytest
import torch
from helpers.commands import run_cli
from helpers.gpu_runs import each_system, words
from torch import distributed

from lightning_tasks.callbacks import RunCard

RANK = int(os.environ.get("LOCAL_RANK", 0))


@cache
def backend():
    """NCCL, or where it does not work, gloo, which is to refuse tensors of the CPU as NCCL does."""
    try:
        distributed.init_process_group(
            "nccl", store=distributed.HashStore(), rank=0, world_size=1, device_id=torch.device("cuda", RANK)
        )
        distributed.destroy_process_group()
    except distributed.DistBackendError:
        return "cuda:gloo"
    return "nccl"


@pytest.fixture(autouse=True)
def group(request, monkeypatch):
    """Join the two processes, anew for each test, so that one that fails leaves the next alone."""
    monkeypatch.chdir(os.environ["SYSTEMS_FOLDER"])
    torch.cuda.set_device(RANK)
    store = distributed.FileStore(f"group_{request.session.items.index(request.node)}", 2)
    distributed.init_process_group(
        backend(),
        store=store,
        rank=RANK,
        world_size=2,
        timeout=timedelta(seconds=60),
        device_id=torch.device("cuda", RANK),
    )
    if backend() == "cuda:gloo":
        monkeypatch.setattr(distributed, "get_backend", lambda group=None: "gloo")  # else Lightning takes it for NCCL
    yield
    distributed.destroy_process_group()


@each_system
@pytest.mark.parametrize("sync_batchnorm", ["false", "true"])
def test_fit(name, sync_batchnorm, monkeypatch):
    differing = []

    def compare(card, trainer, task):
        """Before the test, for which all take the best weights of the first."""
        for each, ours in task.named_parameters():
            first = ours.detach().clone()
            distributed.broadcast(first, 0)
            if not torch.equal(ours, first):
                differing.append(each)

    monkeypatch.setattr(RunCard, "on_train_end", compare, raising=False)
    options = "--trainer.devices=2", f"--trainer.sync_batchnorm={sync_batchnorm}", "--trainer.max_epochs=2"
    task = run_cli("fit", *words(name, *options)).model
    assert task.trainer.world_size == 2
    assert all(value.isfinite().all() for value in task.parameters())
    assert RANK == 0 or not differing
