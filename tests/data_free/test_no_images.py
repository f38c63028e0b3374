"""Distillation of a network of which there is not one image."""

import json
from pathlib import Path

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, refused, run_card, run_cli

from datamodules import DigitsDataModule, NoImages
from lightning_tasks.callbacks.curves import panels
from lightning_tasks.callbacks.plots import subject

DIGITS = DigitsDataModule
NONE = [
    "--data=NoImages",
    "--data.num_classes=10",
    "--data.image_shape=[1, 16, 16]",
    f"--data.mean={list(DIGITS.mean)}",
    f"--data.std={list(DIGITS.std)}",
    "--data.steps_per_epoch=2",
    "--data.eval_steps=3",
]
WORDS = [*TINY_DFAD, *NONE, *TINY_TRAINER, "--trainer.max_epochs=3"]


def test_a_run_is_chosen_and_judged_by_agreement(teacher_ckpt):
    words = [*WORDS, f"--model.teacher_ckpt={teacher_ckpt}"]
    cli = run_cli("fit", *words)
    card = run_card()
    watched = {f"val/{name}{end}" for name in ("agreement", "loss") for end in ("", "_last", "_mean")}
    assert set(card["metrics"]) == {"test/agreement", "test/loss", *watched}
    assert card["monitor"] == "val/agreement"
    assert card["headline"] == ["test/agreement"]
    assert card["chosen_by"] == "agreement with the teacher on held-out synthetic images: no real image was read"
    assert card["metrics"]["val/agreement"] >= card["metrics"]["val/agreement_mean"]
    assert not Path("data").exists()
    assert subject(cli.trainer) == "student"
    first = panels(["train/loss_student", "val/agreement", "train/agreement"], cli.model)[0][0]
    assert first.lines == {
        "val/agreement": "synthetic images, held out",
        "train/agreement": "synthetic images, one batch",
    }
    task = cli.model.eval()
    with torch.inference_mode():  # as Lightning has it in the evaluation that made the metrics' state
        seen = [task.evaluate_held_out("test", number) for number in range(3)]
        again = task.evaluate_held_out("test", 1)
        held_out = [*seen, *(task.evaluate_held_out("val", number) for number in range(3))]
    assert all(logits.shape == (8, 10) for logits in seen)
    assert torch.equal(again, seen[1])  # the same noise each time
    assert not any(torch.equal(a, b) for i, a in enumerate(held_out) for b in held_out[:i])


def test_the_generators_pretraining_is_not_chosen(teacher_ckpt, monkeypatch):
    """Its second epoch agrees best, then the third, the first of the student's two."""
    from lightning_tasks.data_free.held_out import HeldOutEvaluation

    agreements = iter([0.9, 1.0, 0.3, 0.2, 0.5])  # the last of the test
    compute = HeldOutEvaluation.compute
    monkeypatch.setattr(
        HeldOutEvaluation, "compute", lambda self: compute(self) | {"agreement": torch.tensor(next(agreements))}
    )
    run_cli(
        "fit",
        *(*WORDS, f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.max_epochs=4"),
        *("--trainer.num_sanity_val_steps=0", "--model.generator_training.pretrain_epochs=2"),
        "--model.objective.losses=[OneHotLoss]",
    )
    card = run_card()
    assert card["best_epoch"] == 3
    assert card["metrics"]["val/agreement"] == pytest.approx(0.3)


def test_agreement_by_hand(teacher_ckpt, monkeypatch):
    """The last of three validations, of the weights of `last.ckpt`, on synthetic images that are caught here."""
    from lightning_tasks import DFADTask

    caught = []
    agree = DFADTask.evaluate_held_out

    def catch(self, stage, number):
        hook = self.generator.register_forward_hook(lambda *its: caught.append((stage, its[-1])))
        logits = agree(self, stage, number)
        hook.remove()
        return logits

    monkeypatch.setattr(DFADTask, "evaluate_held_out", catch)
    words = [*WORDS, f"--model.teacher_ckpt={teacher_ckpt}"]
    cli = run_cli("fit", *words)
    tested = torch.cat([x for stage, x in caught if stage == "test"])
    assert len(tested) == 3 * 8
    task = cli.model.eval()  # the tested weights
    with torch.no_grad():
        same = task.student(tested).argmax(1) == task.teacher(tested).argmax(1)
        p, q = task.teacher(tested).softmax(1), task.student(tested).softmax(1)
    assert run_card()["metrics"]["test/agreement"] == pytest.approx(same.float().mean().item())
    assert run_card()["metrics"]["test/loss"] == pytest.approx((p * (p / q).log()).sum(1).mean().item(), rel=1e-4)
    assert len([stage for stage, _ in caught if stage == "val"]) == 2 + 3 * 3  # two for the sanity check


@pytest.mark.slow
def test_its_student_can_be_judged_on_images_later(teacher_ckpt):
    teacher = f"--model.teacher_ckpt={teacher_ckpt}"
    run_cli("fit", *WORDS, teacher)
    best = "--ckpt_path=logs/dfad/version_0/checkpoints/best.ckpt"
    words = [word for word in TINY_DFAD if not word.startswith("--data")]
    metrics = run_cli("test", *words, *TINY_DATA, *TINY_TRAINER, teacher, best).trainer.callback_metrics
    assert metrics["test/acc_teacher"] > 0.5
    assert {"test/acc", "test/acc_10pct"} <= metrics.keys()


@pytest.mark.slow
def test_an_export_is_compared_on_noise(teacher_ckpt, tmp_path):
    from lightning_tasks.export.export import export

    run_cli("fit", *WORDS, f"--model.teacher_ckpt={teacher_ckpt}", "--data.class_names=[a,b,c,d,e,f,g,h,i,j]")
    _, facts = export("logs/dfad", tmp_path / "out", False, "x", "y")
    assert facts["compared_on"].startswith("500 images of noise")
    assert facts["classes"] == list("abcdefghij")
    assert json.loads((tmp_path / "out/model.json").read_text())["calibrated_on"] == "512 images of its generator"


@pytest.mark.slow
def test_what_the_teacher_was_trained_with_is_compared(teacher_ckpt, tmp_path):
    words = ["fit", *WORDS, f"--model.teacher_ckpt={teacher_ckpt}"]
    line = refused(tmp_path, *words, "--data.mean=[0.5]")
    assert "was trained with mean [0.3053]; this run has [0.5]" in line
    assert "num_classes 10; this run has 7" in refused(tmp_path, *words, "--data.num_classes=7")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"eval_steps": 0}, "eval_steps at least 1"),
        ({"mean": (0.5, 0.5)}, "mean and std need a number for each of 1 channels"),
        ({"std": (0.0,)}, "std needs a number for each of 1 channels"),
        ({"class_names": ["a"]}, "class_names: 1 names for 3 classes"),
    ],
)
def test_bad_options(options, said):
    with pytest.raises(ValueError, match=said):
        NoImages(**{"num_classes": 3, "image_shape": (1, 8, 8), "mean": (0.5,), "std": (0.5,)} | options)
