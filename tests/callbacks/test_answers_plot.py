"""What pictures of answers and filters hand to their drawing functions."""

import json
from types import SimpleNamespace

import pytest
import torch
from helpers.commands import run_cli
from helpers.plots import NAMES, spy
from helpers.scripted import ANSWERS, LABELS, SCRIPTED, ScriptedDataModule, right

from datamodules.tensors import TensorImages
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.callbacks import FiltersPlot, answers, filters


def test_answers_of_the_tested_weights(monkeypatch):
    """Epoch 2, sure by 0.99: the first four images and all mistakes in order, and the share of right answers."""
    drawn, bins = spy(monkeypatch, answers, "draw_answers"), spy(monkeypatch, answers, "draw_reliability")
    callbacks = [
        {"class_path": "PredictionsPlot", "init_args": {"num_images": 4}},
        {"class_path": "ReliabilityPlot", "init_args": {"num_bins": 10}},
    ]
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=4", f"--trainer.callbacks={json.dumps(callbacks)}")
    said = [int(answer) for answer in ANSWERS[1]["test"]]
    wrong = [index for index in range(10) if said[index] != LABELS[index]]
    assert drawn[0][0][:, 0, 0, 0].tolist() == [20, 21, 22, 23]
    assert len(drawn[1][0]) == min(4, len(wrong))
    for images, given, _ in drawn:
        chosen = (images[:, 0, 0, 0] - 20).tolist()
        assert images is drawn[0][0] or set(chosen) <= set(wrong)
        assert [each[:2] for each in given] == [(NAMES[LABELS[index]], NAMES[said[index]]) for index in chosen]
        assert [each[2] for each in given] == pytest.approx([0.99] * len(chosen))
    titles = [title.splitlines()[0] for *_, title in drawn]
    assert titles[0] == "scripted network: the first of 10 test images"
    assert titles[1] == f"scripted network: the most confident of {len(wrong)} mistakes on 10 test images"
    ((counts, accuracy, confidence, of),) = bins
    assert of == "scripted network"
    assert counts.tolist() == [0] * 9 + [10]
    assert accuracy[-1] == pytest.approx(0.1 * right(2, "test"))
    assert confidence[-1] == pytest.approx(0.99)


def test_the_surest_mistakes_come_first(monkeypatch):
    drawn = spy(monkeypatch, answers, "draw_answers")
    picture = answers.PredictionsPlot(3)
    picture.confidence = torch.tensor([0.9, 0.4, 0.8, 0.6, 0.7])
    picture.predicted, picture.labels = torch.tensor([0, 1, 1, 1, 1]), torch.tensor([0, 0, 0, 0, 2])
    images = TensorImages(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), torch.zeros(5, dtype=torch.long))
    monkeypatch.setattr(answers, "save_figure", lambda *_: None)
    monkeypatch.setattr(answers, "subject", lambda _: "MNIST network")
    picture.draw(SimpleNamespace(datamodule=SimpleNamespace(test_set=images, class_names=NAMES)))
    assert drawn[1][0].flatten().tolist() == [2, 4, 3]


def test_filters_of_a_linear_layer_are_images(monkeypatch):
    calls = spy(monkeypatch, filters, "draw_filters")
    task = ClassificationTask(ScriptedDataModule().data_spec, lambda classes, shape: MLP(classes, shape, (70,)))
    monkeypatch.setattr(filters, "save_figure", lambda *_: None)
    FiltersPlot().on_fit_end(None, task)
    ((weights, title),) = calls
    assert torch.equal(weights, task.network.layers[1].weight.detach()[:64].view(64, 1, 2, 3))
    assert title == "scripted network: weights of the first layer, 64 of 70 filters"
