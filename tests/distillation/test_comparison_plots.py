"""The answers of a test beside a teacher's, and beside those of another run."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_KD, TINY_TRAINER, refusal, run_card, run_cli
from helpers.plots import NAMES, require_readable, spy
from helpers.scripted import ANSWERS, LABELS, SCRIPTED

from datamodules.tensors import TensorImages
from lightning_tasks.distillation import plots as comparison
from lightning_tasks.distillation.plots import agreement_counts, draw_agreement


def changed(ours, theirs):
    """Test images that epoch `ours` of the script has right and `theirs` has wrong."""
    us, them = (ANSWERS[epoch - 1]["test"] for epoch in (ours, theirs))
    return [index for index, label in enumerate(map(str, LABELS)) if us[index] == label != them[index]]


def test_what_has_changed_since_another_run(monkeypatch):
    """Epoch 2, sure by 0.99, against epoch 3, sure by 0.6."""
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=3", "--experiment=control")
    control = "logs/control/version_0/checkpoints/last.ckpt"
    drawn = spy(monkeypatch, comparison, "draw_bands")
    callback = [{"class_path": "ChangesPlot", "init_args": {"control": control, "num_images": 3}}]
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=2", f"--trainer.callbacks={json.dumps(callback)}")
    ((bands, title),) = drawn
    assert title == f"scripted network: test accuracy 70.0% here, 30.0% in {control}; both right: 2 of 10 images"
    directions = (2, 3, 0.6), (3, 2, 0.99)
    for (name, images, answers), (ours, theirs, sure) in zip(bands, directions, strict=True):
        indices = changed(ours, theirs)
        assert name.endswith(f": {min(3, len(indices))} of {len(indices)}")
        assert name.startswith("right here" if ours == 2 else "right there")
        shown = (images[:, 0, 0, 0] - 20).tolist()  # all are as sure, but for rounding
        assert len(set(shown)) == min(3, len(indices))
        assert set(shown) <= set(indices)
        wrong = [int(ANSWERS[theirs - 1]["test"][index]) for index in shown]
        expected = [(NAMES[LABELS[index]], NAMES[said]) for index, said in zip(shown, wrong, strict=True)]
        assert [answer[:2] for answer in answers] == expected
        assert [answer[2] for answer in answers] == pytest.approx([sure] * len(answers))
    assert [len(changed(2, 3)), len(changed(3, 2))] == [5, 1]
    assert Path("logs/scripted/version_0/figures/changes.png").is_file()


def test_those_come_first_of_which_the_right_network_is_surest(monkeypatch):
    picture = comparison.ChangesPlot("there", 2)
    picture.labels = torch.zeros(6, dtype=torch.long)
    picture.predicted, picture.other_predicted = torch.tensor([0, 0, 0, 1, 1, 0]), torch.tensor([1, 2, 1, 0, 0, 0])
    picture.confidence = torch.tensor([0.5, 0.9, 0.7, 0.95, 0.4, 1.0])
    picture.other_confidence = torch.tensor([0.99, 0.4, 0.5, 0.6, 0.8, 1.0])
    drawn = spy(monkeypatch, comparison, "draw_bands")
    monkeypatch.setattr(comparison, "save_figure", lambda *_: None)
    monkeypatch.setattr(comparison, "subject", lambda _: "MNIST student")
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)

    class Data:
        class_names = NAMES

        class test_set:
            __getitems__ = staticmethod(lambda indices: (images[indices], None))

    class Trainer:
        datamodule = Data

    picture.draw(Trainer)
    ((bands, title),) = drawn
    assert [band[1].flatten().tolist() for band in bands] == [[1, 2], [4, 3]]
    assert [[answer[1] for answer in band[2]] for band in bands] == [["cat", "bee"], ["bee", "bee"]]
    assert [[answer[2] for answer in band[2]] for band in bands] == [
        pytest.approx([0.4, 0.5]),
        pytest.approx([0.4, 0.95]),
    ]
    assert "66.7% here, 50.0% in there; both right: 1 of 6" in title


def test_a_direction_without_changes_is_left_out(monkeypatch):
    picture = comparison.ChangesPlot("there", 2)
    picture.labels = picture.predicted = torch.tensor([0, 1])
    picture.other_predicted = torch.tensor([0, 0])
    picture.confidence = picture.other_confidence = torch.ones(2)
    drawn = spy(monkeypatch, comparison, "draw_bands")
    monkeypatch.setattr(comparison, "save_figure", lambda *_: None)
    monkeypatch.setattr(comparison, "subject", lambda _: "MNIST student")
    images = TensorImages(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), picture.labels)
    data = SimpleNamespace(class_names=NAMES, test_set=images)
    picture.draw(SimpleNamespace(datamodule=data))
    assert [[name for name, *_ in bands] for bands, _ in drawn] == [
        ["right here, wrong there (below: its answer): 1 of 1"]
    ]


def test_agreement_by_hand():
    """Of the images that the teacher knows: 3 the same, 2 another; of the others 1 the same, 2 right, 1 wrong."""
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 2, 0, 1])
    taught = torch.tensor([0, 1, 2, 0, 1, 0, 0, 1, 0])
    student = torch.tensor([0, 1, 2, 2, 0, 0, 2, 0, 2])
    counts = agreement_counts(student, taught, labels)
    assert counts.tolist() == [[3, 0, 2, 0], [1, 2, 0, 1]]
    figure = draw_agreement(counts, "MNIST student")
    require_readable(figure)
    (axes,) = figure.axes
    assert figure.get_suptitle() == "MNIST student: 44.4% of its answers are those of the teacher"
    assert [each.get_text() for each in axes.get_yticklabels()] == [
        "the teacher is right: 5",
        "the teacher is wrong: 4",
    ]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == counts.T.tolist()
    assert [text.get_text() for text in axes.texts] == ["60%", "25%", "50%", "40%", "25%"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_agreement_of_a_run(monkeypatch, teacher_ckpt, precision):
    calls = spy(monkeypatch, comparison, "draw_agreement")
    words = [*TINY_KD, *TINY_DATA, *TINY_TRAINER, "--plots=true"]
    words += [f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.max_epochs=2"]
    run_cli("fit", *words, "--trainer.callbacks=AgreementPlot", f"--trainer.precision={precision}")
    (((right, wrong), of),) = calls
    assert of == "digits student"
    metrics = run_card("kd")["metrics"]
    assert right.sum() + wrong.sum() == 100
    assert right.sum().item() / 100 == pytest.approx(metrics["test/acc_teacher"])
    assert (right[0] + wrong[0]).item() / 100 == pytest.approx(metrics["test/agreement"])
    assert (right[0] + wrong[1]).item() / 100 == pytest.approx(metrics["test/acc"])
    assert Path("logs/kd/version_0/figures/agreement.png").is_file()


def test_bad_comparisons_are_refused_before_training(tmp_path, teacher_ckpt):
    words = ["fit", *SCRIPTED]
    line = refusal(tmp_path, *words, "--trainer.callbacks=AgreementPlot")
    assert "AgreementPlot cannot draw ClassificationTask, which has no teacher" in line
    changes = [*words, "--trainer.callbacks=ChangesPlot"]
    assert "control: no checkpoint at nowhere" in refusal(tmp_path, *changes, "--trainer.callbacks.control=nowhere")
    line = refusal(tmp_path, *changes, f"--trainer.callbacks.control={teacher_ckpt}")
    assert line.startswith(f"error: control: {teacher_ckpt} was trained with dataset")
    few = [f"--trainer.callbacks.control={teacher_ckpt}", "--trainer.callbacks.num_images=0"]
    assert "num_images must be at least 1, got 0" in refusal(tmp_path, *changes, *few)
