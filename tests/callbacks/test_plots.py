"""What the callbacks hand to their drawing functions: the right arrays, of the right split, in order, and no trace."""

import inspect
import json
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, run_cli
from helpers.gpu_runs import PICTURES
from helpers.plots import NAMES, Seer, compile_with, fit, spy
from helpers.scripted import ANSWERS, LABELS, SCRIPTED, ScriptedNetwork, loss, right
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn

from datamodules import DigitsDataModule
from lightning_tasks import ClassificationTask, ResNet, callbacks
from lightning_tasks.callbacks import (
    ActivationPlot,
    ConfusionPlot,
    CustomScalars,
    NetworkGraph,
    PeriodicPlot,
    Plot,
    SeriesPlot,
    TestCurve,
    TSNEPlot,
    activations,
    confusion,
    curves,
    tsne,
)
from lightning_tasks.callbacks import plots as pictures
from lightning_tasks.cli.parser import task_parser
from lightning_tasks.data_free.plots import GeneratedPlot
from lightning_tasks.networks import eval_mode
from lightning_tasks.runs.identity import read_command


def test_activations_of_the_first_test_image_of_each_class(monkeypatch):
    calls = spy(monkeypatch, activations, "draw_activations")
    fit(Seer, ActivationPlot(["network.maps"], every_n_epochs=2), max_epochs=3)
    assert [title for *_, title in calls] == [
        f"scripted network after epoch {epoch}: outputs of network.maps" for epoch in (2, 3)
    ]
    numbers = torch.tensor([20.0, 25, 28]).view(3, 1, 1, 1) / 255  # test images are 20 to 29; 5, 3 and 2 a class
    for images, said, maps, _ in calls:
        torch.testing.assert_close(images, numbers.expand(3, 1, 2, 3))
        torch.testing.assert_close(maps["network.maps"], torch.cat([numbers, -numbers], dim=1).expand(3, 2, 2, 3))
        assert said == [("ant", "cat"), ("bee", "bee"), ("cat", "bee")]  # 20, 25 and 28 modulo 3
    assert sorted(path.name for path in Path("figures").iterdir()) == ["activations_0002.png", "activations_0003.png"]


def test_activations_show_as_many_images_and_channels_as_asked(monkeypatch):
    calls = spy(monkeypatch, activations, "draw_activations")
    fit(Seer, ActivationPlot(["network.maps"], num_images=2, num_channels=1))
    images, said, maps, _ = calls[0]
    assert images.shape == (2, 1, 2, 3)
    assert said == [("ant", "cat"), ("bee", "bee")]
    assert maps["network.maps"].shape == (2, 1, 2, 3)


def test_tsne_of_test_images_with_their_labels(monkeypatch):
    class First:
        """In place of t-SNE, the first two features."""

        def __init__(self, perplexity, **_):
            assert perplexity == 3  # a third of the other nine

        def fit_transform(self, features):
            assert features.shape == (10, 2 * 2 * 3)
            return features[:, [0, 6]]

    monkeypatch.setattr(tsne, "TSNE", First)
    calls = spy(monkeypatch, tsne, "draw_points")
    fit(Seer, TSNEPlot("network.maps", epochs=(1, 2, -1)), max_epochs=3)
    assert [title for *_, title, _ in calls] == [
        f"scripted network after epoch {epoch}: t-SNE of network.maps, 10 test images" for epoch in (1, 2, 3)
    ]
    for points, labels, names, _, groups in calls:
        assert np.allclose(points, [[number / 255, -number / 255] for number in range(20, 30)])
        assert labels.tolist() == LABELS
        assert names == NAMES
        assert groups is None


def test_confusion_of_the_tested_weights(monkeypatch):
    calls = spy(monkeypatch, confusion, "draw_confusion")
    callbacks = "--trainer.callbacks=ConfusionPlot"
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=4", callbacks)  # tests epoch 2, the best of four
    (counts, names, levels, of), *others = calls
    assert levels == []
    assert of == "scripted network"
    assert not others
    expected = np.zeros((3, 3))
    for true, answer in zip(LABELS, ANSWERS[1]["test"], strict=True):
        expected[true, int(answer)] += 1
    assert not np.array_equal(expected, expected.T)
    assert counts.tolist() == expected.tolist()
    assert names == NAMES


def test_curves_of_a_resumed_run_are_whole(monkeypatch):
    calls = spy(monkeypatch, curves, "draw_curves")
    words = ["fit", *SCRIPTED, "--trainer.callbacks=[TestCurve,CurvesPlot]"]
    run_cli(*words, "--trainer.max_epochs=3")
    run_cli(*words, "--trainer.max_epochs=4", "--ckpt_path=last")
    assert len(calls) == 2  # all is watched, and nothing is left for diagnostics
    history, constants, group, title, tested, result = calls[1]
    assert constants == {}
    assert [each.title for each in group] == ["accuracy", "cross-entropy"]
    stages = {"train": "train", "val": "val", "test_curve": "test"}
    assert history.keys() == {f"{stage}/{quantity}" for stage in stages for quantity in ("loss", "acc")}
    for stage, part in stages.items():
        for quantity, measure in (("loss", loss), ("acc", lambda *of: right(*of) / 10)):
            epochs, values = zip(*history[f"{stage}/{quantity}"], strict=True)
            assert epochs == (0, 1, 2, 3)
            assert values == pytest.approx([measure(epoch, part) for epoch in (1, 2, 3, 4)], abs=1e-6)
    assert title == "training of scripted network, 4 epochs; dotted: epoch 2, the tested one"
    assert tested == 1  # the second epoch, as in the run card
    assert result == "val/acc"
    assert json.loads(Path("logs/scripted/version_0/run.json").read_text())["best_epoch"] == 2


def stopping():
    return EarlyStopping("val/acc", mode="max", patience=1)  # stops after epoch 3: val/acc is 0.4, 0.8, 0.6, 0.5


@pytest.mark.parametrize(
    ("every", "max_epochs", "stops", "drawn"),
    [(2, 4, False, [2, 4]), (2, 3, False, [2, 3]), (2, 4, True, [2, 3]), (3, 4, True, [3]), (9, 4, True, [3])],
)
def test_the_last_picture_is_drawn_once(monkeypatch, every, max_epochs, stops, drawn):
    epochs = []
    monkeypatch.setattr(GeneratedPlot, "draw", lambda self, trainer, task, epoch: epochs.append(epoch))
    monkeypatch.setattr(GeneratedPlot, "needs", ())
    callbacks = [GeneratedPlot(every), *([stopping()] if stops else [])]
    fit(ScriptedNetwork, *callbacks, max_epochs=max_epochs)
    assert epochs == drawn


@pytest.mark.parametrize(("epochs", "drawn"), [((1, -1), [1, 3]), ((1, 3, -1), [1, 3]), ((2,), [2])])
def test_tsne_is_drawn_after_the_epochs_asked_for(monkeypatch, epochs, drawn):
    seen = []
    monkeypatch.setattr(TSNEPlot, "draw", lambda self, trainer, task, epoch: seen.append(epoch))
    fit(Seer, TSNEPlot("network.maps", epochs=epochs), max_epochs=3)
    assert seen == drawn


ALL_PICTURES = [
    {"class_path": "ActivationPlot", "init_args": {"layers": ["network.conv1"], "every_n_epochs": 2}},
    {"class_path": "TSNEPlot", "init_args": {"layer": "network.layer4", "epochs": [1, -1]}},
    {"class_path": "CurvesPlot"},
    {"class_path": "ConfusionPlot"},
    {"class_path": "PredictionsPlot"},
    {"class_path": "ReliabilityPlot"},
    {"class_path": "FiltersPlot"},
]
OF_DFAD = json.loads(json.dumps(ALL_PICTURES).replace("network.", "student."))
OF_DFAD.append({"class_path": "GeneratedPlot", "init_args": {"every_n_epochs": 2, "num_images": 16}})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["teacher", "dfad"])
def test_pictures_change_nothing(kind, teacher_ckpt):
    """Of networks with BatchNorm and dropout: weights, statistics, optimizers and figures are the same, to the bit."""
    words = ["fit", *(TINY_TEACHER if kind == "teacher" else TINY_DFAD), *TINY_DATA, *TINY_TRAINER]
    words += ["--trainer.max_epochs=3", "--plots=true"]
    if kind == "teacher":
        words.append("--model.network.dropout=0.3")
    else:
        words.append(f"--model.teacher_ckpt={teacher_ckpt}")
    callbacks = ALL_PICTURES if kind == "teacher" else OF_DFAD
    words.append(f"--trainer.callbacks={json.dumps(callbacks)}")
    run_cli(*words, "--experiment=drawn")
    run_cli(*words, "--experiment=bare", "--plots=false")
    layer = "network" if kind == "teacher" else "student"
    names = {"activations_0002", "activations_0003", f"tsne_{layer}.layer4_0001", f"tsne_{layer}.layer4_0003"}
    names |= {"curves", "confusion", "predictions", "mistakes", "reliability", f"filters_{layer}"}
    names |= {"generated_0002", "generated_0003", "synthetic_images", "diagnostics"} if kind == "dfad" else set()
    figures = list(Path("logs/drawn/version_0/figures").iterdir())
    assert {path.stem for path in figures} == names
    assert all(matplotlib.image.imread(path).std() > 0.01 for path in figures)
    assert not Path("logs/bare/version_0/figures").exists()
    drawn, bare = (
        torch.load(f"logs/{name}/version_0/checkpoints/last.ckpt", weights_only=True) for name in ("drawn", "bare")
    )
    assert all(torch.equal(drawn["state_dict"][name], value) for name, value in bare["state_dict"].items())
    for ours, theirs in zip(drawn["optimizer_states"], bare["optimizer_states"], strict=True):
        for index, state in theirs["state"].items():
            assert all(torch.equal(torch.as_tensor(ours["state"][index][k]), torch.as_tensor(state[k])) for k in state)
    cards = [json.loads(Path(f"logs/{name}/version_0/run.json").read_text()) for name in ("drawn", "bare")]
    assert cards[0]["metrics"] == cards[1]["metrics"]
    assert cards[0]["config_hash"] == cards[1]["config_hash"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_named_layers_of_a_compiled_network(monkeypatch, backend):
    compiled = compile_with(monkeypatch, backend)
    calls = spy(monkeypatch, activations, "draw_activations")
    picture = ActivationPlot(["network.maps"])
    task = fit(Seer, TSNEPlot("network.norm", epochs=(1,)), picture, compile=True, max_epochs=2)
    assert compiled == [task.network]
    numbers = torch.tensor([20.0, 25, 28]).view(3, 1, 1, 1) / 255
    assert len(calls) == 2
    for _, said, maps, _ in calls:
        torch.testing.assert_close(maps["network.maps"], torch.cat([numbers, -numbers], dim=1).expand(3, 2, 2, 3))
        assert said == [("ant", "cat"), ("bee", "bee"), ("cat", "bee")]
    assert Path("figures/tsne_network.norm_0001.png").is_file()


def test_undisturbed_gives_each_part_its_mode_again():
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)))
    network.train()
    network[1][1].eval()
    with eval_mode(network):
        assert not any(module.training for module in network.modules())
        assert not torch.is_grad_enabled()
    with pytest.raises(RuntimeError), eval_mode(network):
        network(torch.zeros(1, 3))
    assert torch.is_grad_enabled()
    assert [module.training for module in network.modules()] == [True, True, True, True, False]


def test_layer_outputs_are_those_of_evaluation():
    data = DigitsDataModule()
    task = ClassificationTask(
        data.data_spec, network=lambda classes, shape: ResNet(classes, shape, depth=10, width=4)
    ).train()
    task.network.layer1.eval()
    x = torch.randn(4, 1, 16, 16)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    outputs = task.layer_outputs(x, ["network.conv1", "network"])
    classes = task.answers(x)
    assert all(torch.equal(before[name], value) for name, value in task.state_dict().items())
    assert task.network.training
    assert not task.network.layer1.training
    task.eval()
    assert torch.equal(outputs["network"], task(x))
    assert torch.equal(classes, task(x).argmax(dim=1))
    assert outputs["network.conv1"].shape == (4, 4, 16, 16)
    with pytest.raises(ValueError, match=r"no layer 'stem' in the network; known are .*network, network.enlarge"):
        task.layer_outputs(x, ["stem"])
    with pytest.raises(ValueError, match=r"'loss' gives no tensor when the network maps images"):
        task.layer_outputs(x, ["loss"])


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (lambda: TSNEPlot("nothing"), "no layer 'nothing' in the network"),
        (lambda: TSNEPlot("network", epochs=(0,)), "epochs must be at least 1"),
        (lambda: TSNEPlot("network", num_images=3), "num_images must be at least 4"),
        (lambda: ActivationPlot(["network"]), "network gives no channels"),
        (lambda: ActivationPlot([], every_n_epochs=0), "at least 1, got 0"),
        (lambda: GeneratedPlot(num_images=0), "num_images must be at least 1, got 0"),
    ],
)
def test_bad_pictures_are_refused_before_training(picture, message):
    with pytest.raises(ValueError, match=message):
        fit(Seer, picture(), max_epochs=0)


def test_only_watching_callbacks_are_no_part_of_a_runs_identity():
    pictures = (ActivationPlot, ConfusionPlot, GeneratedPlot, TSNEPlot, TestCurve)
    assert all(picture.only_watches for picture in pictures)


@pytest.mark.parametrize("plot_id", [None, "Jane Doe 1234"])
def test_pictures_say_whose_they_are(monkeypatch, plot_id):
    written = {}
    save = pictures.save_plot

    def spying(figure, path, dpi):
        written[path.stem] = [text.get_text() for text in figure.texts]
        save(figure, path, dpi)

    monkeypatch.setattr(pictures, "save_plot", spying)
    words = ["fit", *SCRIPTED, "--trainer.max_epochs=1", "--seed_everything=7"]
    run_cli(*words, "--trainer.callbacks=[CurvesPlot,ConfusionPlot]", *([f"--plot_id={plot_id}"] if plot_id else []))
    assert written.keys() == {"curves", "confusion"}
    mark = f", {plot_id}" if plot_id else ""
    for texts in written.values():
        assert re.fullmatch(rf"scripted, seed 7, 20\d\d-\d\d-\d\d{mark}", texts[-1])


def test_the_mark_of_pictures_is_no_part_of_a_runs_identity():
    words = ["fit", *SCRIPTED]
    assert read_command(task_parser(), [*words, "--plot_id=Jane"]) == read_command(task_parser(), words)


def test_the_mark_stands_below_the_picture_and_covers_nothing():
    run = Path("logs/scripted/version_0")
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=1", "--trainer.callbacks=CurvesPlot")
    image = matplotlib.image.imread(run / "figures/curves.png")[..., :3].mean(axis=2)
    rows = np.flatnonzero(image.min(axis=1) < 0.9)  # with ink
    last = np.split(rows, np.flatnonzero(np.diff(rows) > 3) + 1)[-1]
    assert 5 < len(last) < 20  # a line of small letters, with nothing beside it
    assert np.flatnonzero(image[last].min(axis=0) < 0.9).max() < 0.6 * image.shape[1]


def test_no_picture_is_left_out_of_the_gpu_tests():
    exported = {name for name, each in inspect.getmembers(callbacks, inspect.isclass) if issubclass(each, Plot)}
    standing = {each.__name__ for each in (Plot, SeriesPlot, PeriodicPlot, NetworkGraph, CustomScalars)}
    assert exported - standing <= {each for drawing, _ in PICTURES.values() for each in drawing}
