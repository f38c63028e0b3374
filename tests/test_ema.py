"""Averaged weights of a task: updated once a step of the optimizer, evaluated beside the trained ones."""

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import (
    FIT_DFAD,
    FIT_TEACHER,
    make_trainer,
    refused,
    run_card,
    run_cli,
)
from helpers.plots import compile_with

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask


class TestEMA:
    def test_follows_the_formula_and_is_evaluated_beside_the_weights(self):
        decay = 0.9
        run_cli(*FIT_TEACHER, f"--model.ema_decay={decay}", "--data.train_per_class=5")
        card = run_card("teacher")
        assert {"test/acc_ema", "test/loss_ema", "val/acc_ema", "val/acc_ema_last", "test/acc"} <= set(card["metrics"])
        assert card["parameters_trained"] == card["parameters"]["network"]

    def test_by_hand(self):
        pl.seed_everything(1)
        data = DigitsDataModule(image_size=8, batch_size=25, train_per_class=10)
        task = ClassificationTask(data.data_spec, network=lambda c, s: MLP(c, s, (8,)), ema_decay=0.8)
        seen = []

        class Watch(pl.Callback):
            def on_train_batch_end(self, trainer, pl_module, *_):
                seen.append(pl_module.network.layers[1].weight.detach().clone())

        make_trainer(Watch(), limit_val_batches=1.0, num_sanity_val_steps=0).fit(task, data)
        average = seen[0].clone()  # the first step starts the average
        for weight in seen[1:]:
            average = 0.8 * average + 0.2 * weight
        torch.testing.assert_close(task.ema.module.layers[1].weight, average)
        x = torch.randn(4, 1, 8, 8)
        assert not torch.equal(task.ema(x), task(x))
        tested = make_trainer().test(task, data, verbose=False)[0]
        images, labels = data.test_set.images, data.test_set.labels
        right = task.ema(data.normalise(images.float() / 255)).argmax(dim=1) == labels
        assert tested["test/acc_ema"] == pytest.approx(right.float().mean().item())

    @pytest.mark.slow
    def test_of_a_student_resumes_to_the_bit(self, teacher_ckpt):
        words = [*FIT_DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--model.ema_decay=0.9", "--trainer.max_epochs=2"]
        run_cli(*words, "--experiment=whole")
        run_cli(*words, "--experiment=parts", "--trainer.max_epochs=1")
        run_cli(*words, "--experiment=parts", "--ckpt_path=last")
        whole, parts = (
            torch.load(f"logs/{name}/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
            for name in ("whole", "parts")
        )
        assert any(name.startswith("ema.") for name in whole)
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
        assert run_card("whole")["metrics"] == run_card("parts")["metrics"]

    @pytest.mark.slow
    def test_of_a_compiled_network_is_that_of_the_network(self, monkeypatch):
        networks = compile_with(monkeypatch)
        words = [*FIT_TEACHER, "--model.ema_decay=0.9", "--trainer.max_epochs=2", "--data.train_per_class=5"]
        for compiled in (False, True):
            task = run_cli(*words, f"--model.compile={compiled}", f"--experiment=compiled_{compiled}").model
            assert networks == ([task.network] if compiled else [])
        plain, compiled = (
            torch.load(f"logs/compiled_{name}/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
            for name in (False, True)
        )
        assert plain.keys() == compiled.keys()
        assert all(torch.allclose(plain[name], compiled[name], rtol=1e-4, atol=1e-5) for name in plain)
        metrics = [run_card(f"compiled_{name}")["metrics"] for name in (False, True)]
        assert metrics[0]["test/loss_ema"] == pytest.approx(metrics[1]["test/loss_ema"], rel=1e-4)

    @pytest.mark.parametrize(
        "own", ["EMAWeightAveraging", "{class_path: StochasticWeightAveraging, init_args: {swa_lrs: 0.05}}"]
    )
    @pytest.mark.parametrize("words", [FIT_TEACHER, FIT_DFAD], ids=["classification", "dfad"])
    def test_lightnings_own_is_refused_since_it_tests_other_weights_than_it_validates(
        self, words, own, teacher_ckpt, tmp_path
    ):
        teacher = [f"--model.teacher_ckpt={teacher_ckpt}"] if words is FIT_DFAD else []
        line = refused(tmp_path, *words, *teacher, f"--trainer.callbacks=[{own}]")
        assert "Averaging validates other weights than are tested; give the task ema_decay" in line

    @pytest.mark.slow
    def test_a_batch_size_that_lightning_finds_is_in_the_card(self):
        finder = "{class_path: BatchSizeFinder, init_args: {max_trials: 2, init_val: 5, steps_per_trial: 1}}"
        cli = run_cli(*FIT_TEACHER, f"--trainer.callbacks=[{finder}]", "--trainer.max_epochs=1")
        card = run_card("teacher")
        assert card["batch_size"] == cli.trainer.num_training_batches == 10  # of 100 images; 5 were doubled
        assert card["configuration"]["data"]["init_args"]["batch_size"] == 25

    def test_decay_out_of_range(self):
        with pytest.raises(ValueError, match=r"ema_decay must be in \(0, 1\), got 1.0"):
            run_cli(*FIT_TEACHER, "--model.ema_decay=1.0")
