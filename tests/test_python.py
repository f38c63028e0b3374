"""The tasks from Python, without command line and configs: built with modules, trained, loaded again."""

import functools
from pathlib import Path

import pytest
import torch
from helpers.commands import ROOT
from pytorch_lightning import Trainer
from torch import nn

from datamodules import DigitsDataModule, NoImages
from lightning_tasks import BaseTask, ClassificationTask, DFADTask, ImageGenerator, KDTask, ResNet
from lightning_tasks.data_free import StudentTraining


def network(width):
    layers = nn.Conv2d(1, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(49 * width, 10)
    return nn.Sequential(*layers)


def no_images(**options):
    return NoImages(10, image_shape=(1, 16, 16), mean=(0.5,), std=(0.5,), **options)


def dfad(**options):
    data = no_images(steps_per_epoch=2, eval_steps=1)
    options = {"teacher": network(8), "student": network(2), "teacher_ckpt": None, "batch_size": 4} | options
    return DFADTask(data.data_spec, **options), data


def saved(task, data):
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint("task.ckpt")
    return "task.ckpt"


def test_a_task_of_modules_is_loaded_with_them_given_again():
    task, data = dfad()
    path = saved(task, data)
    again = DFADTask.load_from_checkpoint(path, teacher=network(8), student=network(2))
    for name, weight in task.student.state_dict().items():
        assert torch.equal(again.student.state_dict()[name], weight), name
    assert again.hparams["batch_size"] == 4


OBJECTS = {
    "teacher and student": ({}, "teacher=..., student=..."),
    "a partial": ({"student": functools.partial(ResNet, depth=10, width=2)}, "teacher=..., student=..."),
    "a lambda": (
        {"generator": lambda shape: ImageGenerator(shape, latent_dim=4, width=2)},
        "teacher=..., student=..., generator=...",
    ),
    "a part": (
        {"student_training": StudentTraining(optimizer=functools.partial(torch.optim.SGD, lr=0.5))},
        "teacher=..., student=..., student_training=...",
    ),
}


@pytest.mark.parametrize(("options", "again"), OBJECTS.values(), ids=OBJECTS)
def test_what_was_given_as_an_object_must_be_given_again(options, again):
    """All of it in one line: a generator or an optimizer would else become the default in silence."""
    path = saved(*dfad(**options))
    with pytest.raises(ValueError, match="does not hold what DFADTask was given as objects") as caught:
        DFADTask.load_from_checkpoint(path)
    assert str(caught.value).endswith(f": DFADTask.load_from_checkpoint(path, {again})")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", [KDTask, BaseTask])
def test_a_checkpoint_of_another_class_names_it(reader):
    path = saved(*dfad())
    with pytest.raises(ValueError, match=f"is of DFADTask, not {reader.__name__}: DFADTask.load_from_checkpoint reads"):
        reader.load_from_checkpoint(path, teacher=network(8), student=network(2))


def test_a_class_of_ones_own_reads_what_its_base_has_trained():
    class Mine(DFADTask):
        pass

    path = saved(*dfad())
    assert isinstance(Mine.load_from_checkpoint(path, teacher=network(8), student=network(2)), Mine)
    with pytest.raises(ValueError, match=r": Mine\.load_from_checkpoint\(path, teacher=\.\.\., student=\.\.\.\)$"):
        Mine.load_from_checkpoint(path)


def test_a_checkpoint_may_be_an_open_file():
    """As Lightning takes it."""
    path = saved(*dfad())
    with open(path, "rb") as file:
        assert isinstance(DFADTask.load_from_checkpoint(file, teacher=network(8), student=network(2)), DFADTask)


def test_a_checkpoint_of_the_command_line_needs_nothing_again(teacher_ckpt):
    task = ClassificationTask.load_from_checkpoint(teacher_ckpt)
    weights = torch.load(teacher_ckpt, weights_only=True)["state_dict"]
    assert all(torch.equal(task.state_dict()[name], weight) for name, weight in weights.items())
    with pytest.raises(ValueError, match="is of ClassificationTask, not BaseTask"):
        BaseTask.load_from_checkpoint(teacher_ckpt)


def test_a_factory_that_takes_keywords_only_is_told_classes_and_shape():
    told = []

    def make(**facts):
        told.append(facts)
        return nn.Sequential(nn.Flatten(), nn.Linear(256, facts["num_classes"]))

    dfad(student=make)
    assert told == [{"num_classes": 10, "image_shape": (1, 16, 16)}]


def test_a_factory_that_takes_keywords_besides_others_is_told_classes_only():
    """As timm's and torchvision's, which hand the rest to a network that knows no image_shape."""
    told = []

    def make(name="net", **rest):
        told.append(rest)
        return nn.Sequential(nn.Flatten(), nn.Linear(256, rest["num_classes"]))

    dfad(student=make)
    assert told == [{"num_classes": 10}]


def test_data_that_must_say_how_long_an_epoch_is_are_told_so_in_words_of_python(tmp_path):
    task, _ = dfad()
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(
        ValueError, match=r"^steps_per_epoch of the data must be given, e.g. 50: DFADTask trains without"
    ):
        trainer.fit(task, datamodule=DigitsDataModule(root=tmp_path))


def ten_lines(page: Path) -> str:
    """Find the Python of the front page."""
    (code,) = [block.split("```")[0] for block in page.read_text().split("```python\n")[1:]]
    return code


def test_the_lines_of_the_front_page_run(monkeypatch):
    """As they stand there, with one epoch of two steps in place of theirs, and a network and a student to give."""
    code = ten_lines(ROOT / "README.md")
    lines = [line for line in code.splitlines() if line]
    assert len(lines) <= 10
    names = {"net": network(8), "small": network(2)}
    short = code.replace("steps_per_epoch=50", "steps_per_epoch=2").replace("max_epochs=50", "max_epochs=1")
    assert short.count("=2)") == short.count("max_epochs=1") == 1
    before = {name: weight.clone() for name, weight in names["net"].state_dict().items()}
    exec(short, names)
    assert isinstance(names["task"], DFADTask)
    assert names["trainer"].current_epoch == 1
    assert all(torch.equal(weight, names["net"].state_dict()[name]) for name, weight in before.items())
