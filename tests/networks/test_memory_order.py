"""Channels-last memory order, which networks with `view` cannot compute in."""

import logging

import pytest
import torch
from helpers.commands import make_trainer
from torch import nn
from torch.nn import functional as F

from datamodules import DigitsDataModule, NoImages
from lightning_tasks import ClassificationTask, DFADTask, KDTask
from lightning_tasks.data_free.generator import ImageGenerator
from lightning_tasks.networks import ImageNetwork

SHAPE = (3, 16, 16)
LEFT_OFF = "channels_last is left off, for it cannot compute so (view size is not compatible"


class Net(nn.Module):
    """Flattens what two convolutions give, as `flatten` says."""

    def __init__(self, flatten, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(128, 10)
        self.flatten = flatten

    def forward(self, x):
        return self.fc(self.flatten(self, self.norm(self.conv2(F.relu(self.conv(x))))))


class InputView(nn.Module):
    """Flattens the images themselves."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(768, 10)

    def forward(self, x):
        return self.fc(x.view(x.size(0), -1))


class Subclass(ImageNetwork):
    def __init__(self, num_classes, image_shape):
        super().__init__(num_classes, image_shape)
        self.net = Net(view)

    def forward(self, x):
        return self.net(x)


def view(net, x):
    return x.view(x.size(0), -1)


def view_in_training(net, x):
    return x.view(x.size(0), -1) if net.training else x.flatten(1)


def reshaped(net, x):
    return x.reshape(x.size(0), -1)


def no_images():
    return NoImages(10, image_shape=SHAPE, mean=(0.5,) * 3, std=(0.5,) * 3, steps_per_epoch=2, eval_steps=1)


def distilled(student, teacher=None, **options):
    """A student of a teacher after a short training and a test."""
    data = no_images()
    options = {"batch_size": 4, "generator": lambda shape: ImageGenerator(shape, 8, 4), **options}
    task = DFADTask(data.data_spec, teacher or Net(reshaped), student, None, **options)
    trainer = make_trainer(limit_val_batches=1)
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    return task


def in_order(network):
    return network.module.conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "student",
    [lambda: Net(view), lambda: Net(view_in_training), InputView, lambda: Subclass],
    ids=["view", "view in training", "view of the input", "class"],
)
def test_a_student_that_cannot(student, caplog):
    caplog.set_level(logging.INFO)
    task = distilled(student())
    assert [line for line in caplog.messages if "channels_last" in line] == [
        line for line in caplog.messages if line.startswith(f"student: {LEFT_OFF}")
    ]
    assert caplog.text.count(LEFT_OFF) == 1  # though it was trained and tested
    assert in_order(task.teacher.network)
    assert all(weight.is_contiguous() for weight in task.student.parameters())


@pytest.mark.parametrize("teacher", [lambda: Net(view), InputView])
def test_a_teacher_that_cannot(teacher, caplog):
    caplog.set_level(logging.INFO)
    task = distilled(Net(reshaped), teacher())
    assert caplog.text.count(f"teacher: {LEFT_OFF}") == caplog.text.count("channels_last") == 1
    assert in_order(task.student)
    assert task.teacher.fast is not task.teacher.network  # a copy that cannot either
    assert all(weight.is_contiguous() for weight in task.teacher.fast.parameters())
    x = torch.randn(4, *SHAPE).to(memory_format=torch.channels_last).requires_grad_()
    task.teacher(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert task.teacher.observe(x).logits.shape == (4, 10)


def test_a_teacher_may_fail_in_training_mode(caplog):
    caplog.set_level(logging.INFO)
    assert in_order(distilled(Net(reshaped), Net(view_in_training)).teacher.network)
    assert "channels_last" not in caplog.text


def test_nobody_is_asked_without_channels_last(caplog):
    caplog.set_level(logging.INFO)
    assert not in_order(distilled(Net(view), Net(view), channels_last=False).student)
    assert "channels_last" not in caplog.text


@pytest.mark.parametrize("flatten", [view, reshaped])
@pytest.mark.parametrize("kind", ["classification", "distillation"])
def test_tasks_with_data(kind, flatten, caplog):
    caplog.set_level(logging.INFO)
    data = DigitsDataModule(train_per_class=10, test_per_class=10, batch_size=25)
    net = Net(flatten, channels=1)
    if kind == "classification":
        task = ClassificationTask(data.data_spec, net, channels_last=True)
    else:
        task = KDTask(data.data_spec, Net(reshaped, channels=1), net, None, channels_last=True)
    make_trainer(limit_train_batches=2).fit(task, datamodule=data)
    assert caplog.text.count(LEFT_OFF) == (flatten is view)
    assert task.networks["network" if kind == "classification" else "student"].module.conv2.weight.is_contiguous(
        memory_format=torch.contiguous_format if flatten is view else torch.channels_last
    )
