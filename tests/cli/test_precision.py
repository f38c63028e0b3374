"""Precisions that a device has, and kernels that are used with them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.commands import (
    FIT_DFAD,
    FIT_TEACHER,
    make_trainer,
    run_card,
    run_cli,
)

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.cli.precision import fast_kernels, usable_precision


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precisions(precision, teacher_ckpt, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")  # else bfloat16 is not used
    run_cli(*FIT_TEACHER, f"--trainer.precision={precision}")
    assert run_card("teacher")["precision"] == precision
    run_cli(*FIT_DFAD, f"--trainer.precision={precision}", f"--model.teacher_ckpt={teacher_ckpt}")
    assert 0 <= run_card()["metrics"]["test/acc"] <= 1
    dtype = {"bf16-mixed": torch.float32, "bf16-true": torch.bfloat16, "64-true": torch.float64}[precision]
    weights = torch.load("logs/teacher/version_0/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert weights["network.fc.weight"].dtype == dtype


@pytest.mark.parametrize(
    ("optimizer", "options", "refused"),
    [
        (torch.optim.SGD, {}, None),
        (torch.optim.Adam, {}, "Adam's eps of 1e-08"),
        (torch.optim.AdamW, {"eps": 1e-4}, None),
        (torch.optim.RMSprop, {}, "RMSprop's eps of 1e-08"),
        (torch.optim.Adafactor, {}, None),
        (torch.optim.Adafactor, {"eps": (1e-10, 1e-3)}, r"Adafactor's eps of \(1e-10, 0.001\)"),
    ],
)
def test_an_eps_that_is_0_in_float16_is_refused(optimizer, options, refused):
    data = DigitsDataModule(image_size=8, train_per_class=10)

    def fit(precision):
        task = ClassificationTask(data.data_spec, MLP, optimizer=lambda params: optimizer(params, lr=1e-3, **options))
        make_trainer(precision=precision).fit(task, data)

    if refused is None:
        fit("16-true")
    else:
        with pytest.raises(ValueError, match=f"trainer.precision 16-true: {refused} is 0 in float16"):
            fit("16-true")
        fit("32-true")


@pytest.mark.parametrize(("capability", "used"), [("AVX2", "32-true"), ("AVX512", "bf16-mixed")])
def test_bfloat16_is_not_emulated(monkeypatch, recwarn, capability, used):
    """The card says what was computed with, the config what was asked for."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    run_cli(*FIT_TEACHER, "--trainer.precision=bf16-mixed", "--data.train_per_class=5", "--trainer.max_epochs=1")
    assert run_card("teacher")["precision"] == used
    assert "precision: bf16-mixed" in Path("logs/teacher/version_0/config.yaml").read_text()
    found = [each for each in recwarn if "has no bfloat16; 32-true takes the place of bf16-mixed" in str(each.message)]
    assert len(found) == (used == "32-true")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert usable_precision(SimpleNamespace(precision="bf16-mixed", accelerator="auto")) == "bf16-mixed"
    assert usable_precision(SimpleNamespace(precision="16-mixed", accelerator="cpu")) == "16-mixed"


class TestGPU:
    """Of any generation; there is none."""

    @pytest.fixture
    def options(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        options = {"accelerator": "auto", "precision": "32-true", "benchmark": None, "deterministic": None}
        return lambda **changed: SimpleNamespace(**options | changed)

    @pytest.mark.parametrize(
        ("asked", "used"), [("bf16-mixed", "16-mixed"), ("bf16-true", "32-true"), ("16-true", "16-true")]
    )
    def test_bfloat16_is_not_emulated(self, monkeypatch, recwarn, options, asked, used):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
        assert usable_precision(options(precision=asked)) == used
        assert len(recwarn) == (used != asked)
        assert all(
            f"this GPU has no bfloat16; {used} takes the place of {asked}" in str(each.message) for each in recwarn
        )
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        assert usable_precision(options(precision=asked)) == asked

    def test_a_bfloat16_gpu_is_not_asked_by_a_run_on_the_cpu(self, monkeypatch, options):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        assert usable_precision(options(precision="bf16-mixed", accelerator="cpu")) == "bf16-mixed"

    def test_fast_kernels(self, options):
        """Not in a deterministic run; a choice of the user's stands; a run on the CPU changes nothing."""

        def chosen(**changed):
            benchmark = fast_kernels(options(**changed))
            return benchmark, torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

        assert chosen(accelerator="cpu")[:2] == (None, "highest")
        assert chosen() == (True, "high", True)
        assert chosen(benchmark=False) == (False, "high", True)
        assert chosen(accelerator="cpu", benchmark=True)[0] is True
        assert chosen(deterministic=True) == (False, "highest", False)
        assert chosen(deterministic="warn") == (False, "highest", False)
        torch.backends.cudnn.allow_tf32 = True
