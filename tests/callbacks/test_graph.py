"""The graph of the network in TensorBoard."""

from pathlib import Path

import pytest
import torch
from helpers.commands import (
    TINY_BY_HAND,
    TINY_DATA,
    TINY_DFAD,
    TINY_TEACHER,
    TINY_TRAINER,
    make_trainer,
    run_cli,
)
from helpers.events import read, scalars
from helpers.plots import compile_with
from torch import nn

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.callbacks import NetworkGraph
from lightning_tasks.networks import ImageNetwork
from lightning_tasks.runs.logger import ExperimentLogger


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ClassificationTask", "DFADTask"])
def test_graph_is_of_the_network_that_is_tested(kind, teacher_ckpt):
    words = TINY_TEACHER if kind == "ClassificationTask" else [*TINY_DFAD, f"--model.teacher_ckpt={teacher_ckpt}"]
    words = ["fit", *words, *TINY_DATA, *TINY_TRAINER, "--plots=true", "--trainer.max_epochs=1", "--experiment=a"]
    run_cli(*words)
    nodes = read("logs/a/version_0").Graph().node
    assert any(node.name.startswith("ResNet/Sequential[layer1]/") for node in nodes)
    (first,) = (node for node in nodes if "ResNet/Conv2d[conv1]" in node.name and node.op == "aten::_convolution")
    shape = [each.size for each in first.attr["_output_shapes"].list.shape[0].dim]
    assert shape == [1, 4 if kind == "ClassificationTask" else 2, 16, 16]  # the student is of half the teacher's width
    run_cli(*words, "--plots=false", "--experiment=b")
    assert not read("logs/b/version_0").Tags()["graph"]
    run_cli(*words, "--trainer.fast_dev_run=true", "--experiment=c")
    assert not list(Path("logs").glob("c/**/events*"))


class Untraceable(ImageNetwork):
    """As many networks, decides by what it is given."""

    def __init__(self, num_classes, image_shape):
        super().__init__(num_classes, image_shape)
        self.layers = MLP(num_classes, image_shape, (8,))

    def forward(self, x):
        if torch.jit.is_tracing():
            print("much about the reasons")
            raise RuntimeError("cannot be followed")
        return self.layers(x)


def fit(network, **options):
    """Fit with TensorBoard from Python; returns the task and what was written."""
    data = DigitsDataModule(image_size=8, train_per_class=5, batch_size=25)
    task = ClassificationTask(data.data_spec, network=network, **options)
    trainer = make_trainer(NetworkGraph())
    trainer.loggers = [ExperimentLogger("logs", name="a")]
    trainer.fit(task, data)
    return task, read("logs/a/version_0")


def test_a_network_without_a_graph_trains_all_the_same(capsys, caplog):
    with caplog.at_level("INFO", logger="pytorch_lightning.utilities.rank_zero"):
        _, events = fit(Untraceable)
    assert not events.Tags()["graph"]
    assert "train/loss" in events.Tags()["scalars"]
    assert "graph: none in TensorBoard (cannot be followed)" in caplog.text
    assert "reasons" not in capsys.readouterr().out


def test_graph_changes_nothing():
    """A part that is in evaluation mode for good, dropout, and the global random numbers."""

    def build(classes, shape):
        network = MLP(classes, shape, (8,), dropout=0.5)
        network.add_module("fixed", nn.BatchNorm1d(3).eval())
        return network

    task, events = fit(build)
    assert events.Tags()["graph"]
    assert task.network.training
    assert not task.network.fixed.training
    callback = NetworkGraph()
    trainer = make_trainer()
    trainer.loggers = [ExperimentLogger("logs", name="b")]
    state = torch.get_rng_state()
    callback.setup(trainer, task, "fit")
    trainer.loggers[0].experiment.flush()  # a thread writes, late on a busy machine
    assert read("logs/b/version_0").Tags()["graph"]
    assert torch.equal(torch.get_rng_state(), state)


def test_graph_of_a_network_that_will_be_compiled(monkeypatch):
    compiled = compile_with(monkeypatch)
    task, events = fit(lambda classes, shape: MLP(classes, shape, (8,)), compile=True)
    assert compiled == [task.network]
    assert any(node.name.startswith("MLP/") for node in events.Graph().node)


def test_by_hand_networks_have_no_graph_and_say_nothing(caplog):
    with caplog.at_level("INFO", logger="pytorch_lightning.utilities.rank_zero"):
        run_cli("fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=1", "--experiment=a")
    events = read("logs/a/version_0")
    assert not events.Tags()["graph"]
    assert "graph" not in caplog.text
    assert scalars(events, "lr") == [(1, 0.05)]
