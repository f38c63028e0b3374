"""The test of the range of learning rates."""

from pathlib import Path

import pytest
import torch
from helpers.commands import (
    FIT_DFAD,
    FIT_TEACHER,
    refusal,
    run_cli,
)

from lightning_tasks.callbacks import LearningRateRange


class TestLearningRateRange:
    WORDS = (
        *FIT_TEACHER,
        "--data.train_per_class=20",
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.lr=0.05",
    )

    @pytest.mark.slow
    def test_training_is_as_without(self, caplog):
        caplog.set_level("INFO")
        run_cli(*self.WORDS)
        callback = "--trainer.callbacks=[{class_path: LearningRateRange, init_args: {num_training_steps: 30}}]"
        cli = run_cli(*self.WORDS, callback)
        runs = [torch.load(f"logs/teacher/version_{n}/checkpoints/last.ckpt", weights_only=True) for n in (0, 1)]
        for name, value in runs[0]["state_dict"].items():
            assert torch.equal(value, runs[1]["state_dict"][name]), name
        (finder,) = [each for each in cli.trainer.callbacks if isinstance(each, LearningRateRange)]
        rates, losses = finder.optimal_lr.results["lr"], finder.optimal_lr.results["loss"]
        assert len(rates) == len(losses) > 5
        assert rates == sorted(rates)
        assert rates[0] < 1e-4
        assert losses[:3] == pytest.approx([2.3] * 3, abs=0.3)  # of a network that knows nothing of ten classes
        assert f"learning rate: the loss falls fastest at {finder.optimal_lr.suggestion():.2g}" in caplog.messages
        assert Path("logs/teacher/version_1/figures/learning_rates.png").is_file()
        assert not list(Path().glob(".lr_find*"))

    def test_refused(self, tmp_path, teacher_ckpt):
        callback = "--trainer.callbacks=[LearningRateRange]"
        line = refusal(tmp_path, *FIT_DFAD, f"--model.teacher_ckpt={teacher_ckpt}", callback)
        assert "LearningRateRange needs a task of one optimizer, which DFADTask is not" in line
        with pytest.raises(ValueError, match=r"expected 0 < min_lr < max_lr and two steps, got 1, 0\.1, 100"):
            LearningRateRange(1, 0.1)
