"""Pictures of a tree of classes, worked out by hand where all kinds of mistakes happen, and the best epoch is not last.

Seven classes of unequal size, five superclasses, three groups; what belongs together does not follow itself by number.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.commands import make_trainer, run_cli
from helpers.plots import Seer, fit, spy
from helpers.scripted import SCRIPTED, ScriptedDataModule, ScriptedNetwork
from helpers.tree_data import ABOVE, GROUP, SUPER

from datamodules.tensors import TensorImages
from lightning_tasks import ClassificationTask
from lightning_tasks.callbacks import ConfusionPlot, TSNEPlot, confusion, tsne
from lightning_tasks.multi_task import error_kinds, mistakes
from lightning_tasks.multi_task.error_kinds import ErrorKindsPlot
from lightning_tasks.multi_task.mistakes import MistakesBySeverityPlot, kinds_of_mistakes, severities

CLASSES = ["ant", "oak", "bee", "fir", "rose", "crab", "lion"]
LEVELS = {"superclass": SUPER, "group": GROUP}
# Of each test image the true class, the answer after epoch 2 and its probability.
TESTED = (
    (0, 2, 0.9),  # in the superclass
    (0, 0, 0.99),
    (0, 5, 0.7),  # in the group
    (0, 1, 0.6),  # across groups
    (1, 3, 0.5),  # in the superclass
    (1, 4, 0.8),  # in the group
    (1, 6, 0.95),  # across groups
    (2, 2, 0.4),
    (2, 0, 0.55),  # in the superclass
    (3, 3, 0.45),
    (4, 4, 0.65),
    (4, 1, 0.85),  # in the group
    (5, 0, 0.75),  # in the group
    (6, 6, 0.35),
)
COUNTS = [
    [1, 1, 1, 0, 0, 1, 0],
    [0, 0, 0, 1, 1, 0, 1],
    [1, 0, 1, 0, 0, 0, 0],
    [0, 0, 0, 1, 0, 0, 0],
    [0, 1, 0, 0, 1, 0, 0],
    [1, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 1],
]
VALIDATED = (1, 3, 2)  # right answers of four, in epochs 1 to 3
NAMES = {"super": ["cat", "tree", "shell", "insect", "flower"], "group": ["plant", "beast", "small"]}
HEADS = {"super": torch.arange(25).view(5, 5) + 1, "group": torch.arange(9).view(3, 3) + 2}
# Of each decision the accuracy, and of the errors the share in the superclass, in the group and across groups.
SCORES = {"": (0.6, 0.5, 0.3, 0.2), "_tree": (0.7, 0.1, 0.6, 0.3), "_crm": (0.2, 0.25, 0.125, 0.625)}


class TreeData(ScriptedDataModule):
    """Images of 2 x 3 pixels that are their number: test 0 to 13, validation 20 to 23, training 30 to 33."""

    num_classes = 7

    def make_splits(self):
        parts = {"test": (0, [true for true, _, _ in TESTED]), "val": (20, [0] * 4), "train": (30, [0] * 4)}
        for part, (first, true) in parts.items():
            numbers = torch.arange(first, first + len(true), dtype=torch.uint8)
            images = numbers.view(-1, 1, 1, 1).expand(-1, *self.image_shape).clone()
            setattr(self, f"{part}_set", TensorImages(images, torch.tensor(true)))
        self.class_names, self.class_levels = CLASSES, LEVELS


class TreeNetwork(ScriptedNetwork):
    """Answers the test images as written after epoch 2, and with the next class after others; an epoch is a batch."""

    def forward(self, x):
        if self.training:
            self.batches += 1
        rows = []
        for number in (x[:, 0, 0, 0] * 255).round().int().tolist():
            if number < 20:
                _, answer, p = TESTED[number]
                answer += int(self.batches != 2)
            else:
                answer, p = int(number % 10 >= VALIDATED[max(int(self.batches), 1) - 1]), 0.5
            rows.append([p if answer % 7 == label else (1 - p) / 6 for label in range(7)])
        return torch.tensor(rows).log() * self.scale


class TreeTask(ClassificationTask):
    """Has what MultiTask has for pictures; other numbers after other epochs than the second."""

    level_names = NAMES

    @property
    def level_confusions(self):
        return {level: counts * int(self.network.batches) for level, counts in HEADS.items()}

    def on_test_epoch_end(self):
        super().on_test_epoch_end()
        for suffix, scores in SCORES.items():
            for name, score in zip(("acc_fine", "same_super", "same_group", "across"), scores, strict=True):
                self.log(f"test/{name}{suffix}", score if self.network.batches == 2 else 0.0)


def test_pictures_of_the_tested_weights(monkeypatch):
    matrices, bars = spy(monkeypatch, confusion, "draw_confusion"), spy(monkeypatch, error_kinds, "draw_error_kinds")
    bands = spy(monkeypatch, mistakes, "draw_bands")
    callbacks = [
        {"class_path": "ConfusionPlot"},
        {"class_path": "ErrorKindsPlot"},
        {"class_path": "MistakesBySeverityPlot", "init_args": {"num_images": 3}},
    ]
    options = {"model": "test_tree_plots.TreeTask", "model.network": "test_tree_plots.TreeNetwork"}
    options |= {"data": "test_tree_plots.TreeData", "trainer.callbacks": json.dumps(callbacks)}
    words = [word for word in SCRIPTED if not word.startswith(("--model=", "--model.network=", "--data="))]
    first = [f"--{name}={value}" for name, value in options.items()]
    run_cli("fit", *first, *words, "--trainer.max_epochs=3")
    assert json.loads(Path("logs/scripted/version_0/run.json").read_text())["best_epoch"] == 2

    expected = [(COUNTS, CLASSES, [SUPER, GROUP]), ((2 * HEADS["super"]).tolist(), NAMES["super"], [ABOVE])]
    expected.append(((2 * HEADS["group"]).tolist(), NAMES["group"], []))
    assert [(counts.tolist(), names, levels) for counts, names, levels, _ in matrices] == expected
    assert [of.partition("network")[2] for *_, of in matrices] == ["", ", super", ", group"]

    ((rows, title),) = bars
    assert list(rows) == ["argmax", "respecting the tree", "least expected severity"]
    assert rows["argmax"] == pytest.approx((0.2, 0.12, 0.08))
    assert rows["respecting the tree"] == pytest.approx((0.03, 0.18, 0.09))
    assert rows["least expected severity"] == pytest.approx((0.2, 0.1, 0.5))
    assert title.endswith("network: wrong answers by severity")

    (((mild, middle, severe), title),) = bands
    assert "in 14 test images" in title
    for (said, images, answers), (name, numbers) in zip(
        (mild, middle, severe),
        [
            ("same superclass: 3 of 9 mistakes (33%)", [0, 8, 4]),
            ("same group: 4 of 9 mistakes (44%)", [11, 5, 12]),  # without the least sure one
            ("across groups: 2 of 9 mistakes (22%)", [6, 3]),
        ],
        strict=True,
    ):
        assert said == name
        assert images[:, 0, 0, 0].tolist() == numbers
        true, answered, p = zip(*(TESTED[number] for number in numbers), strict=True)
        assert [answer[:2] for answer in answers] == [
            (CLASSES[a], CLASSES[b]) for a, b in zip(true, answered, strict=True)
        ]
        assert [answer[2] for answer in answers] == pytest.approx(p)
    figures = Path("logs/scripted/version_0/figures").iterdir()
    names = {"confusion", "confusion_super", "confusion_group", "errors", "mistakes_by_severity"}
    assert {path.stem for path in figures} == names


@pytest.mark.parametrize(
    "levels",
    [{"order": ["fly", "fly", "cat"]}, {"order": ["bee", "fly", "cat"], "class": ["insect", "insect", "mammal"]}],
)
def test_confusion_has_all_levels_and_points_the_farthest(monkeypatch, levels):
    class Grouped(ScriptedDataModule):
        def make_splits(self):
            super().make_splits()
            self.class_levels = levels

    shown = [spy(monkeypatch, module, name) for module, name in ((tsne, "draw_points"), (confusion, "draw_confusion"))]
    data = Grouped(batch_size=4)
    task = ClassificationTask(data.data_spec, Seer)
    trainer = make_trainer(TSNEPlot("network.maps", epochs=(-1,)), ConfusionPlot())
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    (points, *_), (matrix, *_) = shown
    assert points[-1] == list(levels.values())[-1]
    assert matrix[2] == list(levels.values())


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (lambda: MistakesBySeverityPlot(num_images=0), "num_images must be at least 1, got 0"),
        (lambda: MistakesBySeverityPlot(), "needs classes with levels above them; scripted has none"),
        (lambda: ErrorKindsPlot(), "ErrorKindsPlot cannot draw ClassificationTask, which has no level_names"),
    ],
)
def test_bad_pictures_are_refused_before_training(picture, message):
    with pytest.raises(ValueError, match=message):
        fit(Seer, picture(), max_epochs=0)


def test_they_only_watch():
    assert ErrorKindsPlot.only_watches
    assert MistakesBySeverityPlot.only_watches


def test_a_test_without_errors(monkeypatch):
    """Whose shares of the errors are not defined."""
    calls = spy(monkeypatch, error_kinds, "draw_error_kinds")
    monkeypatch.setattr(error_kinds, "save_figure", lambda *_: None)
    monkeypatch.setattr(error_kinds, "subject", lambda _: "CIFAR100 network")
    names = [f"{name}{suffix}" for suffix in SCORES for name in ("same_super", "same_group", "across")]
    metrics = {f"test/{name}": torch.tensor(float("nan")) for name in names}
    metrics |= {f"test/acc_fine{suffix}": torch.tensor(1.0) for suffix in SCORES}
    ErrorKindsPlot().on_test_end(SimpleNamespace(callback_metrics=metrics), None)
    assert list(calls[0][0].values()) == [(0, 0, 0)] * 3


def test_kinds_of_mistakes():
    assert kinds_of_mistakes(LEVELS) == ["same superclass", "same group", "across groups"]
    assert kinds_of_mistakes({"superclass": SUPER}) == ["same superclass", "across superclasses"]
    true, answered, _ = zip(*TESTED, strict=True)
    found = severities(torch.tensor(true), torch.tensor(answered), LEVELS)
    assert found.tolist() == [0, 0, 1, 2, 0, 1, 2, 0, 0, 0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("answers", "kinds"),
    [
        ([2, 1, 6], ["same superclass: 1 of 2 mistakes (50%)", "across groups: 1 of 2 mistakes (50%)"]),
        ([0, 1, 4], []),
    ],
)
def test_kinds_without_mistakes_have_no_band(monkeypatch, answers, kinds):
    calls = spy(monkeypatch, mistakes, "draw_bands")
    monkeypatch.setattr(mistakes, "save_figure", lambda *_: None)
    monkeypatch.setattr(mistakes, "subject", lambda _: "CIFAR100 network")
    picture = MistakesBySeverityPlot()
    picture.confidence, picture.labels = torch.ones(3), torch.tensor([0, 1, 4])
    picture.predicted = torch.tensor(answers)
    images = TensorImages(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), picture.labels)
    data = SimpleNamespace(test_set=images, class_names=CLASSES, class_levels=LEVELS)
    picture.draw(SimpleNamespace(datamodule=data))
    assert [name for bands, _ in calls for name, *_ in bands] == kinds
