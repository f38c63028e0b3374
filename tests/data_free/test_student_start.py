"""A student that is reconstructed from its teacher when the generator's pretraining ends."""

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, make_trainer, run_cli
from helpers.data_free import make_task
from pytorch_lightning import Callback

from lightning_tasks import FeatureLoss
from lightning_tasks.data_free import BatchNormStatisticsLoss, dfad
from lightning_tasks.networks import eval_mode, reconstruct

OPTIONS = {
    "student_reconstruct": True,
    "generator_pretrain_epochs": 1,
    "objective_losses": [BatchNormStatisticsLoss()],
}


def test_it_starts_after_the_pretraining_as_what_comes_nearest_to_the_teacher(teacher_ckpt):
    students = []

    class Starts(Callback):
        """Keeps the student of each epoch's start, and reconstructs another one just before the task does."""

        def on_train_epoch_start(self, trainer, task):
            if task.current_epoch == 1:
                z, _ = task.draw_noise(1024, torch.Generator().manual_seed(task.seed))
                self.student = make_task(teacher_ckpt)[0].student
                with eval_mode(task.generator):
                    x = torch.cat([task.generator(each) for each in z.split(8)])
                reconstruct(self.student.inner, task.teacher.network.inner, x)
                self.x = x

        def on_train_batch_start(self, trainer, task, batch, batch_idx):
            if batch_idx == 0:
                students.append({name: value.clone() for name, value in task.student.state_dict().items()})

    task, data = make_task(teacher_ckpt, **OPTIONS)
    make_trainer(starts := Starts(), max_epochs=2).fit(task, data)
    answers = starts.student.eval()(starts.x)
    starts.student.load_state_dict(students[1])
    torch.testing.assert_close(
        starts.student(starts.x), answers, atol=1e-2, rtol=1e-2
    )  # weights may be ill-conditioned
    starts.student.load_state_dict(students[0])
    assert (starts.student(starts.x) - answers).abs().max() > 0.1


def test_it_is_reconstructed_once(teacher_ckpt, monkeypatch):
    epochs = []
    monkeypatch.setattr(dfad, "reconstruct_student", lambda task: epochs.append(task.current_epoch) or {})
    task, data = make_task(teacher_ckpt, **OPTIONS | {"generator_pretrain_epochs": 2})
    make_trainer(max_epochs=5).fit(task, data)
    assert epochs == [2]


def test_features_are_compared_with_those_of_the_channels_that_were_kept():
    student = {"a": torch.tensor([[1.0, 2.0]])}
    teacher = {"a": torch.tensor([[100.0, 1.0, 4.0]])}
    loss = FeatureLoss(["a"])
    (hint,) = loss.hints(teacher, {"a": (2,)}, channels={"a": torch.tensor([1, 2])})
    assert loss.distance(student, hint).item() == pytest.approx((0 + 4) / (1 + 16))
    (hint,) = loss.hints(teacher, {"a": (2,)}, channels={"b": torch.tensor([1, 2])})
    assert loss.distance(student, hint).item() == pytest.approx((99**2 + 1) / (100**2 + 1))


def test_the_task_compares_with_the_channels_that_were_kept(teacher_ckpt, tmp_path):
    task, data = make_task(teacher_ckpt, student_feature_loss=FeatureLoss(["layer2.0"]), **OPTIONS)
    seen = []
    hints = task.student_training.feature_loss.hints

    def record(teacher, shapes, batches, channels):
        seen.append({name: each.tolist() for name, each in channels.items()})
        return hints(teacher, shapes, batches, channels)

    task.student_training.feature_loss.hints = record
    trainer = make_trainer(max_epochs=2)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "left.ckpt", weights_only=False)
    kept = torch.load(tmp_path / "left.ckpt", weights_only=True)["channels"]
    assert {name: each.tolist() for name, each in kept.items()} == seen[-1]
    assert len(seen[-1]["layer2.0"]) == 4
    assert len(seen[-1]["layer1.0"]) == 2


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_weights(teacher_ckpt):
    words = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}"]
    words += [
        "--model.generator_training.pretrain_epochs=1",
        "--model.student_training.reconstruct=true",
        "--model.student_training.feature_loss=FeatureLoss",
        "--model.student_training.feature_loss.layers=[layer1.0,layer2.0]",
        "--model.objective.losses=[{class_path: BatchNormStatisticsLoss}]",
        "--model.ema_decay=0.9",
    ]
    run_cli(*words, "--trainer.max_epochs=3", "--experiment=whole")
    run_cli(*words, "--trainer.max_epochs=2", "--experiment=parts")
    run_cli(*words, "--trainer.max_epochs=3", "--experiment=parts", "--ckpt_path=last")
    last = [
        torch.load(f"logs/{name}/version_0/checkpoints/last.ckpt", weights_only=True) for name in ("whole", "parts")
    ]
    for name, value in last[0]["state_dict"].items():
        assert torch.equal(value, last[1]["state_dict"][name]), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator_pretrain_epochs": 0}, "it needs images of a pretrained generator"),
        ({"student_width": 6}, r"student_training.reconstruct: conv1 of shape \(6, 1, 3, 3\) cannot be a part of"),
    ],
)
def test_what_cannot_be_is_refused(teacher_ckpt, options, message):
    with pytest.raises(ValueError, match=message):
        make_task(teacher_ckpt, **{**OPTIONS, **options})
