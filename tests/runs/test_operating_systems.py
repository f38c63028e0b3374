"""What other systems lack, left out on purpose: Windows has neither `resource` nor `fcntl`, and does not fork."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, image_folder, run_card

WITHOUT = """
import multiprocessing, os, signal, sys
import filelock, psutil, torch  # these have their own ways there
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for name in ("register_at_fork", "fork", "posix_fallocate"):
    delattr(os, name)
multiprocessing.context.BaseContext.get_all_start_methods = lambda self: ["spawn"]
multiprocessing.get_all_start_methods = lambda method=None: ["spawn"]
"""


def python(code, *words):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WITHOUT + code, *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_there_leaves_its_card_and_its_memory():
    image_folder(Path("photos"), {"train": 4, "test": 4}, ["cat", "dog"], size=(16, 16))
    words = [
        "fit",
        "--model=ClassificationTask",
        "--model.network=MLP",
        "--model.network.hidden_sizes=[4]",
        "--plots=false",
        "--data=ImageFolderDataModule",
        "--data.folder=photos",
        "--data.val_fraction=0.5",
        "--data.batch_size=4",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--experiment=there",
    ]
    python("if __name__ == '__main__':\n    from lightning_tasks.cli.main import main\n    main(sys.argv[1:])", *words)
    assert 50 < run_card("there")["peak_memory_mb"] < 5000


@pytest.mark.slow
def test_the_memory_of_a_machine_is_known_there():
    python(
        "del os.sysconf\n"
        "from lightning_tasks.data_free.memory_check import memory\n"
        "assert memory(torch.device('cpu'))[0] > 2**30"
    )


@pytest.mark.slow
def test_a_signal_reaches_the_watch_there():
    code = """
del signal.SIGKILL
import time
from lightning_tasks.runs import signals
signals.GRACE = 0.3
signal.signal(signal.SIGTERM, lambda *_: None)
signals.end_in_time(lambda: "; go on", lambda: print("before", flush=True))
signal.raise_signal(signal.SIGTERM)
time.sleep(10)
"""
    done = subprocess.run([sys.executable, "-c", WITHOUT + code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (143, "before\n", "stopped by SIGTERM; go on\n")


@pytest.mark.slow
def test_all_commands_can_be_imported_there():
    python(
        "del signal.SIGKILL; "
        "import lightning_tasks.sweeps.command, lightning_tasks.export.command, lightning_tasks.live.command, "
        "lightning_tasks.compare.command, tools.results.__main__"
    )
