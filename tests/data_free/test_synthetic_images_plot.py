"""What the plots of a data-free run are given."""

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, make_trainer, run_card, run_cli
from helpers.plots import spy

from datamodules import DigitsDataModule
from lightning_tasks import DFADTask, ImageGenerator, ResNet
from lightning_tasks.callbacks import (
    curves,
)
from lightning_tasks.data_free import plots as generated
from lightning_tasks.data_free.plots import GeneratedPlot


def dfad(teacher_ckpt, **options):
    data = DigitsDataModule(steps_per_epoch=2, test_per_class=10)
    task = DFADTask(
        data.data_spec,
        teacher=lambda classes, shape: ResNet(classes, shape, depth=10, width=4),
        student=lambda classes, shape: ResNet(classes, shape, depth=10, width=2),
        teacher_ckpt=str(teacher_ckpt),
        generator=lambda shape: ImageGenerator(shape, latent_dim=8, width=4),
        batch_size=8,
        **options,
    )
    return task, data


def test_generated_images_go_with_what_the_teacher_sees_in_them(monkeypatch, teacher_ckpt):
    calls = spy(monkeypatch, generated, "draw_generated")
    task, data = dfad(teacher_ckpt)
    make_trainer(GeneratedPlot(2, num_images=40), max_epochs=3).fit(task, data)
    assert len(calls) == 2
    images, probabilities, counts, names, title = calls[1]
    noise = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = task.generator.eval()(noise)
        answers = task.teacher.network(x).softmax(dim=1)  # of the images as they are, before they are cut to [0, 1]
    torch.testing.assert_close(images, (x * data.std[0] + data.mean[0]).clamp(0, 1))
    assert len(answers.argmax(dim=1).unique()) > 1
    torch.testing.assert_close(probabilities, answers)
    assert counts.tolist() == task.fake_class_counts.tolist()
    assert counts.sum() == 2 * 5 * 8  # rounds, student steps, batch
    assert names == [str(digit) for digit in range(10)]
    assert title.splitlines() == [
        "digits student after epoch 3: synthetic images by predicted class",
        "the first of 40, predicted by the teacher",
    ]


def test_a_sample_is_the_same_each_time_and_changes_no_mode(teacher_ckpt):
    task, _ = dfad(teacher_ckpt)
    task.train()
    task.generator.layers[2].eval()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    first, second = task.sample(6), task.sample(6)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(before[name], value) for name, value in task.state_dict().items())
    assert not task.generator.layers[2].training
    assert task.generator.layers[5].training
    assert not task.teacher.network.training


@pytest.mark.slow
def test_a_teacher_is_a_line_beside_its_student(monkeypatch, teacher_ckpt):
    calls = spy(monkeypatch, curves, "draw_curves")
    words = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--plots=true", f"--model.teacher_ckpt={teacher_ckpt}"]
    cli = run_cli(*words, "--trainer.max_epochs=2", "--trainer.callbacks=CurvesPlot")
    history, constants, group, title, *_ = calls[0]
    task, images = cli.model, cli.datamodule.val_set
    x, y = images.__getitems__(list(range(len(images))))
    answers = task.teacher(cli.datamodule.normalise(x.float() / 255)).argmax(dim=1)
    assert constants == {"val/acc_teacher": pytest.approx((answers == y).float().mean().item())}
    assert [*group[0].lines] == ["val/acc", "val/acc_teacher"]
    assert "val/acc_teacher" not in history
    assert not any("acc_teacher" in name for name in run_card("dfad")["metrics"] if name.startswith("val/"))
    assert title.startswith("training of digits student, 2 epochs")
    assert calls[1][3].startswith("diagnostics of digits student, 2 epochs")
    assert "train/class_entropy" in calls[1][2][0].lines
