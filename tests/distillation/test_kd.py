"""Distillation with data: both losses by hand, kept answers, two momenta, half precision, resuming."""

import copy
import math
from typing import ClassVar

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_KD, TINY_TRAINER, make_trainer, refused, run_card, run_cli
from pytorch_lightning import Callback
from torch.nn import functional as F

from datamodules import BatchRandomCrop, DigitsDataModule, ProgressiveResize
from lightning_tasks import CNN, DecoupledLoss, HintonLoss, KDTask, ResNet
from lightning_tasks.distillation.dot import DistillationOrientedSGD


def make(teacher_ckpt, augment=None, **options):
    data = DigitsDataModule(train_per_class=10, test_per_class=10, batch_size=30, augment=augment)
    torch.manual_seed(0)
    task = KDTask(
        data.data_spec,
        teacher=lambda classes, shape: ResNet(classes, shape, depth=10, width=4),
        teacher_ckpt=str(teacher_ckpt),
        **{
            "student": lambda classes, shape: CNN(classes, shape, ((4,),), ()),
            "optimizer": lambda params: torch.optim.SGD(params, lr=0.05),
            **options,
        },
    )
    return task, data


class Recorder(Callback):
    """Keeps what each batch was, how often the teacher was asked, and the gradients that a step is about to use."""

    def __init__(self):
        self.batches, self.gradients, self.asked = [], [], 0

    def on_fit_start(self, trainer, pl_module):
        pl_module.teacher.register_forward_hook(self.count)

    def count(self, *_):
        self.asked += 1

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append([each.clone() for each in batch])

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients.append([each.grad.clone() for each in pl_module.student.parameters()])


class Told(HintonLoss):
    """Keeps what it is told of the teacher's answers."""

    def __init__(self):
        super().__init__()
        self.answers = []

    def forward(self, logits_s, logits_t, y):
        self.answers.append(logits_t.clone())
        return super().forward(logits_s, logits_t, y)


@pytest.mark.parametrize("soft_loss", [HintonLoss(2.0), DecoupledLoss(2.0)], ids=lambda each: type(each).__name__)
def test_a_step_is_that_of_a_plain_loop(teacher_ckpt, soft_loss):
    task, data = make(teacher_ckpt, soft_loss=soft_loss, alpha=0.7, label_smoothing=0.1)
    recorder = Recorder()
    student = copy.deepcopy(task.student)
    trainer = make_trainer(recorder, limit_train_batches=1)
    trainer.fit(task, data)
    x, y = recorder.batches[0]
    logits, logits_t = student.train()(x), task.teacher(x).detach()
    hard = F.cross_entropy(logits, y, label_smoothing=0.1)
    soft = soft_loss(logits, logits_t, y)
    loss = 0.3 * hard + 0.7 * soft
    for ours, parameter in zip(recorder.gradients[0], student.parameters(), strict=True):
        torch.testing.assert_close(ours, torch.autograd.grad(loss, parameter, retain_graph=True)[0])
    metrics = trainer.callback_metrics
    assert metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert metrics["train/loss_hard"].item() == pytest.approx(hard.item(), rel=1e-5)
    assert metrics["train/loss_soft"].item() == pytest.approx(soft.item(), rel=1e-5)
    assert metrics["train/acc"].item() == pytest.approx((logits.argmax(dim=1) == y).float().mean().item())


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_the_student_starts_as_the_initialisation_says_and_so_does_its_average(teacher_ckpt, ema_decay):
    task, _ = make(teacher_ckpt, initialisation="random", ema_decay=ema_decay)
    weights = task.student.head[-1].weight
    assert weights.std().item() == pytest.approx(0.01, rel=0.1)
    assert task.student.head[-1].bias.abs().max() == 0
    assert ema_decay is None or torch.equal(task.ema.module.head[-1].weight, weights)


def test_without_distillation_the_labels_alone_teach(teacher_ckpt):
    task, data = make(teacher_ckpt, distil=False)
    recorder = Recorder()
    student = copy.deepcopy(task.student)
    trainer = make_trainer(recorder, limit_train_batches=1)
    trainer.fit(task, data)
    assert recorder.asked == 0
    x, y = recorder.batches[0]
    gradients = torch.autograd.grad(F.cross_entropy(student.train()(x), y), list(student.parameters()))
    for ours, theirs in zip(recorder.gradients[0], gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert "train/loss_soft" not in trainer.callback_metrics
    tested = make_trainer().test(task, data, verbose=False)[0]
    assert {"test/acc", "test/acc_teacher", "test/agreement"} <= tested.keys()


def test_views_repeat_batches_and_the_teacher_is_asked_once_for_each(teacher_ckpt):
    soft_loss = Told()
    task, data = make(teacher_ckpt, augment=[BatchRandomCrop(2)], cached_epochs=2, soft_loss=soft_loss)
    recorder = Recorder()
    make_trainer(recorder, max_epochs=6).fit(task, data)
    batches = len(recorder.batches) // 6
    assert batches == 4
    assert recorder.asked == 2 * batches
    epochs = [recorder.batches[batches * epoch : batches * (epoch + 1)] for epoch in range(6)]

    def same(first, second):
        return all(
            torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)
        )

    assert same(epochs[0], epochs[2])
    assert same(epochs[0], epochs[4])
    assert same(epochs[1], epochs[5])
    assert not same(epochs[0], epochs[1])
    for view, batch in ((0, 3), (1, 2)):
        x = epochs[view][batch][0]
        first, kept = (soft_loss.answers[batches * epoch + batch] for epoch in (view, view + 4))
        assert kept.dtype == torch.float16
        assert torch.equal(first, kept)
        torch.testing.assert_close(kept.float(), task.teacher(x), rtol=1e-2, atol=1e-2)


def test_kept_answers_are_to_images_of_the_same_size(teacher_ckpt):
    """The first two of four epochs show 8 x 8 pixels, the others 16 x 16."""
    soft_loss = Told()
    resize = ProgressiveResize(0.5, delay_fraction=0.5, finetune_fraction=0.5)
    options = {"cached_epochs": 1, "soft_loss": soft_loss}
    task, data = make(
        teacher_ckpt, [resize], student=lambda classes, shape: ResNet(classes, shape, depth=10, width=2), **options
    )
    recorder = Recorder()
    make_trainer(recorder, max_epochs=4).fit(task, data)
    assert [recorder.batches[4 * epoch][0].shape[2] for epoch in range(4)] == [8, 8, 16, 16]
    for (x, _), answers in zip(recorder.batches, soft_loss.answers, strict=True):
        torch.testing.assert_close(answers.float(), task.teacher(x), rtol=1e-2, atol=1e-2)


def test_a_second_fit_does_not_keep_the_answers_of_the_first(teacher_ckpt):
    soft_loss = Told()
    task, data = make(teacher_ckpt, cached_epochs=1, soft_loss=soft_loss)
    make_trainer().fit(task, data)
    _, other = make(teacher_ckpt, augment=[BatchRandomCrop(6)])
    recorder = Recorder()
    make_trainer(recorder).fit(task, other)
    for (x, _), answers in zip(recorder.batches, soft_loss.answers[-len(recorder.batches) :], strict=True):
        torch.testing.assert_close(answers.float(), task.teacher(x), rtol=1e-2, atol=1e-2)


def test_a_repeated_batch_meets_other_dropout(teacher_ckpt):
    class Dropped(torch.nn.Module):
        masks: ClassVar[list] = []

        def __init__(self):
            super().__init__()
            self.flatten, self.dropout, self.last = torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(256, 10)

        def forward(self, x):
            hidden = self.dropout(torch.ones_like(self.flatten(x)))
            if self.training:
                self.masks.append(hidden.detach().clone())
            return self.last(hidden)

    task, data = make(teacher_ckpt, student=Dropped(), cached_epochs=1)
    recorder = Recorder()
    make_trainer(recorder, max_epochs=2).fit(task, data)
    first, again = recorder.batches[0], recorder.batches[4]
    assert torch.equal(first[0], again[0])
    masks = Dropped.masks[-8:]
    assert not any(torch.equal(masks[0], each) for each in masks[1:])


def test_without_views_each_epoch_has_its_own_batches(teacher_ckpt):
    task, data = make(teacher_ckpt, augment=[BatchRandomCrop(2)])
    recorder = Recorder()
    make_trainer(recorder, max_epochs=2).fit(task, data)
    assert recorder.asked == len(recorder.batches) == 8
    assert not torch.equal(recorder.batches[0][0], recorder.batches[4][0])


def test_a_run_with_views_that_is_resumed_ends_with_the_same_weights(teacher_ckpt, tmp_path):
    options = {"augment": [BatchRandomCrop(2)], "cached_epochs": 2}
    task, data = make(teacher_ckpt, **options)
    make_trainer(max_epochs=5).fit(task, data)
    first, data = make(teacher_ckpt, **options)
    trainer = make_trainer(max_epochs=3)
    trainer.fit(first, data)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    again, data = make(teacher_ckpt, **options)
    make_trainer(max_epochs=5).fit(again, data, ckpt_path=tmp_path / "half.ckpt")
    for ours, theirs in zip(again.student.parameters(), task.student.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_two_momenta_by_hand(teacher_ckpt):
    """Two steps against the equations, with the two gradients computed apart."""
    settings = {"lr": 0.1, "momentum": 0.8, "delta": 0.1, "weight_decay": 0.01}
    task, data = make(teacher_ckpt, alpha=0.6, optimizer=lambda params: DistillationOrientedSGD(params, **settings))
    recorder = Recorder()
    student = copy.deepcopy(task.student).train()
    make_trainer(recorder, limit_train_batches=2).fit(task, data)
    parameters = list(student.parameters())
    v, u = ([torch.zeros_like(each) for each in parameters] for _ in range(2))
    for x, y in recorder.batches:
        logits = student(x)
        losses = 0.4 * F.cross_entropy(logits, y), 0.6 * HintonLoss()(logits, task.teacher(x).detach(), y)
        g, h = (torch.autograd.grad(each, parameters, retain_graph=True) for each in losses)
        with torch.no_grad():
            for index, parameter in enumerate(parameters):
                v[index] = 0.7 * v[index] + g[index] + 0.01 * parameter
                u[index] = 0.9 * u[index] + h[index]
                parameter -= 0.1 * (v[index] + u[index])
    for ours, theirs in zip(task.student.parameters(), parameters, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_with_equal_momenta_it_is_sgd(teacher_ckpt):
    task, data = make(
        teacher_ckpt, optimizer=lambda params: DistillationOrientedSGD(params, 0.05, 0.9, 0.0, weight_decay=1e-3)
    )
    make_trainer().fit(task, data)
    plain, data = make(
        teacher_ckpt, optimizer=lambda params: torch.optim.SGD(params, 0.05, momentum=0.9, weight_decay=1e-3)
    )
    make_trainer().fit(plain, data)
    for ours, theirs in zip(task.student.parameters(), plain.student.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 1.0}], ids=str)
def test_two_momenta_refuse_what_shares_or_scales_one_loss(teacher_ckpt, options):
    task, data = make(teacher_ckpt, optimizer=lambda params: DistillationOrientedSGD(params, lr=0.1))
    with pytest.raises(ValueError, match="DistillationOrientedSGD works on one device"):
        make_trainer(**options).fit(task, data)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"momentum": 1.0}, "momentum must be in"),
        ({"delta": 0.2}, "delta from 0"),
        ({"lr": -1.0}, "must not be negative"),
        ({"weight_decay": -1.0}, "must not be negative"),
    ],
)
def test_bad_options_of_the_optimizer(options, said):
    with pytest.raises(ValueError, match=said):
        DistillationOrientedSGD([torch.zeros(1, requires_grad=True)], **options)


@pytest.mark.slow
def test_a_whole_run_in_half_precision_and_a_card(teacher_ckpt):
    words = [*TINY_KD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.max_epochs=3"]
    words += [
        "--model.soft_loss=DecoupledLoss",
        "--model.soft_loss.beta=1",
        "--model.ema_decay=0.5",
    ]
    words += ["--model.optimizer=torch.optim.Adam", "--model.optimizer.lr=0.003"]
    run_cli("fit", *words, "--trainer.precision=bf16-mixed")
    metrics = run_card("kd")["metrics"]
    assert all(math.isfinite(value) for value in metrics.values())
    assert {
        "test/acc",
        "test/acc_ema",
        "test/acc_teacher",
        "test/agreement",
        "val/acc",
        "val/acc_ema",
    } <= metrics.keys()
    assert 0 <= metrics["test/acc"] <= 1
    run_cli("fit", *words)
    full = run_card("kd", 1)["metrics"]
    assert metrics["test/loss"] == pytest.approx(full["test/loss"], rel=0.2)


def test_a_loss_that_becomes_nan_stops_the_run_with_its_epoch(teacher_ckpt):
    task, data = make(teacher_ckpt, optimizer=lambda params: torch.optim.SGD(params, lr=1e20))
    with pytest.raises(FloatingPointError, match=r"in epoch 1: training diverged.*there is no good checkpoint"):
        make_trainer(max_epochs=5).fit(task, data)


def resnet(num_classes, image_shape):
    return ResNet(num_classes, image_shape, depth=10, width=4)


@pytest.mark.slow
def test_bad_options_are_one_line(teacher_ckpt, tmp_path):
    words = ["fit", *TINY_KD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}"]
    assert "alpha must be in [0, 1], got 1.5" in refused(tmp_path, *words, "--model.alpha=1.5")
    assert "alpha must be in [0, 1], got -0.1" in refused(tmp_path, *words, "--model.alpha=-0.1")
    assert "student_from_teacher: stages.0.0" in refused(tmp_path, *words, "--model.student_from_teacher=true")
    with pytest.raises(ValueError, match="initialisation: the student starts with weights of its teacher"):
        make(teacher_ckpt, student=resnet, student_from_teacher=True, initialisation="he")
    assert "cached_epochs must be at least 1" in refused(tmp_path, *words, "--model.cached_epochs=0")
    cold = ["--model.soft_loss=HintonLoss", "--model.soft_loss.temperature=-1"]
    assert "temperature must be above 0, got -1" in refused(tmp_path, *words, *cold)
    assert "was trained with" in refused(tmp_path, *words, "--data.image_size=8")
    seven = ResNet(7, (1, 16, 16), depth=10, width=4)
    torch.save(seven.state_dict(), tmp_path / "seven.pth")
    other = refused(tmp_path, *words[:-1], "--model.teacher_ckpt=seven.pth")
    assert "do not fit ResNet: 2 of another shape (fc.weight (7, 32) for (10, 32), fc.bias (7,) for (10,))" in other
