"""Half precision as on a GPU, but on the CPU: gradients that GradScaler scales, and bfloat16 alone."""

import json
import shlex

import pytest
import torch
from helpers.commands import TINY_TRAINER, run_cli
from helpers.systems import SYSTEMS, without_averages
from torch import nn

from lightning_tasks import ByHandTask
from lightning_tasks.callbacks import RunCard

SCALER = {"class_path": "torch.amp.GradScaler", "init_args": {"device": "cpu"}}
MIXED = {"precision": "16-mixed", "device": "cpu", "scaler": SCALER}
SCALED = (
    f"--trainer.plugins={json.dumps([{'class_path': 'pytorch_lightning.plugins.MixedPrecision', 'init_args': MIXED}])}"
)
SHORT = [*TINY_TRAINER, "--trainer.max_epochs=2", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
SHORT += ["--plots=false", "--test_after_fit=false"]


def words(name):
    return shlex.split(SYSTEMS[name])


@pytest.fixture
def fit(system_folder, monkeypatch):
    """Trains a system for two short epochs: what is trained is to change and to stay finite, averages too."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")  # else bfloat16 is not used
    before = {}

    def keep(card, trainer, task):
        before.update({name: value.clone() for name, value in task.state_dict().items()})

    monkeypatch.setattr(RunCard, "on_train_start", keep, raising=False)

    def fit(words, *options):
        task = run_cli("fit", *words, *SHORT, *options).model
        after = task.state_dict()
        assert all(value.isfinite().all() for value in after.values())
        weights = [name for name in after if "running" not in name and "num_batches" not in name]
        moved = {name.partition(".")[0] for name in weights if not torch.equal(after[name], before[name])}
        assert moved >= ({"weights"} if isinstance(task, ByHandTask) else task.networks.keys() - {"teacher"})
        return task

    return fit


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data-free", "data-free with all parts", "distillation"])
def test_scaled_gradients(name, fit):
    fit(words(name), SCALED)


def test_scaled_gradients_are_refused_by_hand(fit):
    with pytest.raises(ValueError, match="derivatives by hand are not scaled"):
        fit(words("by hand"), SCALED)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_true_bfloat16(name, fit):
    task = fit(without_averages(words(name)), "--trainer.precision=bf16-true")
    assert all(each.dtype == torch.bfloat16 for each in task.parameters())


@pytest.mark.parametrize("option", ["ema_decay", "generator_ema_decay"])
def test_averages_in_half_precision_are_refused(option, fit):
    """With 1 - decay below its resolution an average in bfloat16 would stay where it is."""
    with pytest.raises(ValueError, match=r"bf16-true: averaged weights \(ema_decay\) need float32"):
        fit(words("data-free"), f"--model.{option}=0.999", "--trainer.precision=bf16-true")


@pytest.mark.slow
@pytest.mark.parametrize("precision", [SCALED, "--trainer.precision=bf16-true"])
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore::DeprecationWarning")
def test_a_teacher_in_torchscript(precision, fit):
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 10)
    torch.jit.script(nn.Sequential(*layers).eval()).save("teacher.pt")
    without = [word for word in words("data-free") if not word.startswith("--model.teacher")]
    fit([*without, "--model.teacher=NetworkFile", "--model.teacher.path=teacher.pt"], precision)
