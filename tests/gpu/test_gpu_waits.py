"""Between log steps the host does not wait for the GPU."""

import pytest
import torch
from helpers.commands import run_cli
from helpers.gpu_runs import each_system, words
from helpers.waits import Waits

from lightning_tasks.callbacks import RunCard

STEPS = 2
MOST = {"by hand": 1}  # waits a step; none of all others
MORE_STEPS = {"data-free": "--data.steps_per_epoch=6", "data-free with all parts": "--data.steps_per_epoch=6"}


@pytest.fixture
def watched(monkeypatch):
    """Waits between the ends of two batches of the second epoch, as noted, and as CUDA says on a real GPU."""
    noted = Waits()

    def on_train_batch_end(card, trainer, task, outputs, batch, index):
        if trainer.current_epoch == 1 and index == 2:
            noted.__enter__()
            torch.cuda.set_sync_debug_mode("warn")
        if trainer.current_epoch == 1 and index == 2 + STEPS:
            torch.cuda.set_sync_debug_mode("default")
            noted.__exit__(None, None, None)
            noted.ended = True
            trainer.should_stop = True

    monkeypatch.setattr(RunCard, "on_train_batch_end", on_train_batch_end, raising=False)
    yield noted
    torch.cuda.set_sync_debug_mode("default")


@each_system
def test_the_host_does_not_wait(name, watched, system_folder, recwarn):
    options = "--trainer.log_every_n_steps=100", "--trainer.max_epochs=2", "--test_after_fit=false"
    run_cli("fit", *words(name, MORE_STEPS.get(name, "--data.batch_size=1"), *options))
    assert watched.ended
    said = [f"{each.filename}:{each.lineno}" for each in recwarn if "synchronizing CUDA operation" in str(each.message)]
    for waits in (watched.seen, said):
        assert len(waits) <= STEPS * MOST.get(name, 0), "\n".join(waits)
