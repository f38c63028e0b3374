"""Each system of the campaign's table, on a GPU: in all precisions, and gone on with."""

import pytest
import torch
from gpu_runs import each_system, fit, needs_gpu, run
from systems import assert_same_run, finished_run

from lightning_tasks.callbacks import CurvesPicture

pytestmark = needs_gpu


@each_system
def test_all_commands(name, system_folder):
    done = fit(name, "--trainer.precision=32-true", "--trainer.max_epochs=2")
    for command in ("validate", "test", "predict"):
        run(command, name, f"--ckpt_path={done}/checkpoints/best.ckpt")


@each_system
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision(name, precision, system_folder):
    """A fit validates, and tests at its end."""
    options = f"--trainer.precision={precision}", "--trainer.max_epochs=2"
    if (name, precision) == ("by hand", "16-mixed"):
        with pytest.raises(ValueError, match="derivatives by hand are not scaled"):
            fit(name, *options)
        return
    done = fit(name, *options)
    run("predict", name, *options, f"--ckpt_path={done}/checkpoints/best.ckpt")


@each_system
def test_true_bfloat16(name, system_folder):
    fit(name, "--trainer.precision=bf16-true", "--trainer.max_epochs=2")


class Stop(Exception):
    pass


@each_system
def test_a_resumed_run_is_a_whole_one(name, system_data, tmp_path, monkeypatch):
    """To the bit, with deterministic kernels, in float32."""

    def stop(picture, trainer, *rest):
        if trainer.current_epoch == 2:
            raise Stop

    options = "--trainer.precision=32-true", "--trainer.deterministic=true"
    folders = [system_data.lay_out(tmp_path / part) for part in ("whole", "stopped")]
    with monkeypatch.context() as patch:
        patch.chdir(folders[0])
        fit(name, *options)
        patch.chdir(folders[1])
        patch.setattr(CurvesPicture, "on_train_batch_end", stop)
        with pytest.raises(Stop):
            fit(name, *options)
        assert torch.are_deterministic_algorithms_enabled()
    monkeypatch.chdir(folders[1])
    fit(name, *options, "--ckpt_path=last")
    assert_same_run(*map(finished_run, folders))
