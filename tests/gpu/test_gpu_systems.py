"""Each system of the campaign's table, on a GPU: all commands, resumed, and in all precisions."""

import contextlib
from functools import cache
from pathlib import Path

import pytest
from helpers.commands import run_cli
from helpers.gpu_runs import each_system, fit, words
from helpers.systems import assert_same_run, finished_run

from lightning_tasks.callbacks import PredictionWriter, RunCard
from lightning_tasks.cli.main import main
from lightning_tasks.sketch.writer import SketchWriter

EXACT = "--trainer.precision=32-true", "--trainer.deterministic=true", "--trainer.max_epochs=3"


@pytest.fixture(scope="module")
def whole(system_data, tmp_path_factory):
    """Give the folder of a run with deterministic kernels that nothing disturbed; each is done once."""

    @cache
    def folder(name):
        path = system_data.lay_out(tmp_path_factory.mktemp("whole") / "run")
        with contextlib.chdir(path):
            fit(name, *EXACT)
        return path

    return folder


@each_system
def test_evaluation(name, whole, monkeypatch):
    """Of a checkpoint, by a task that was not trained."""
    monkeypatch.chdir(whole(name))
    built = main(words(name), run=False)
    ckpt = finished_run(Path.cwd()) / "checkpoints/best.ckpt"
    built.trainer.callbacks.append(writer(built.model))
    for command in (built.trainer.validate, built.trainer.test, built.trainer.predict):
        command(built.model, built.datamodule, ckpt_path=ckpt, weights_only=True)
    assert built.trainer.strategy.root_device.type == "cuda"


def writer(task):
    """What `predict` writes with."""
    return SketchWriter() if hasattr(task, "reconstruct") else PredictionWriter()


class Stop(Exception):
    pass


@each_system
def test_a_resumed_run_is_a_whole_one(name, whole, system_folder, monkeypatch):
    """To the bit, with deterministic kernels in float32."""

    def stop(card, trainer, *rest):
        if trainer.current_epoch == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(RunCard, "on_train_batch_end", stop, raising=False)
        with pytest.raises(Stop):
            run_cli("fit", *words(name, *EXACT))
    fit(name, *EXACT, "--ckpt_path=last")
    assert_same_run(finished_run(system_folder), finished_run(whole(name)))


@each_system
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "bf16-true"])
def test_half_precision(name, precision, system_folder):
    """A fit validates, and tests at its end."""
    options = f"--trainer.precision={precision}", "--trainer.max_epochs=2"
    if (name, precision) == ("by hand", "16-mixed"):
        with pytest.raises(ValueError, match="derivatives by hand are not scaled"):
            fit(name, *options)
        return
    done = fit(name, *options)
    done.trainer.callbacks.append(writer(done.model))
    done.trainer.predict(done.model, done.datamodule)
