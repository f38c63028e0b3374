"""What networks of other people give: logits beside others, other things in training mode, probabilities."""

import warnings
from collections import OrderedDict, namedtuple
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, make_trainer, run_cli
from torch import nn

from datamodules import NoImages
from lightning_tasks import DFADTask, KDTask, ResNet
from lightning_tasks.frozen_teacher import FrozenTeacher
from lightning_tasks.networks import WithFeatures, build_network, build_teacher

SHAPE = (1, 16, 16)
Both = namedtuple("Both", ["logits", "aux"])
Other = namedtuple("Other", ["scores", "aux"])
NETS = """
from torch import nn

def ends_in_softmax(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(256, num_classes), nn.Softmax(1))
"""


class ModelOutput(OrderedDict):
    """As that of transformers: a mapping whose values are attributes too."""


class Net(nn.Module):
    """Gives what a function makes of its logits and of whether it is in training mode."""

    def __init__(self, outputs, classes=10):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm2d(1), nn.Dropout()
        self.register_buffer("count", torch.zeros(()))
        self.fc = nn.Linear(256, classes)
        self.outputs = outputs

    def forward(self, x):
        self.count = self.count + 1 if self.training else self.count  # another tensor in its place
        return self.outputs(self.fc(self.dropout(self.norm(x)).flatten(1)), self.training)


BESIDE = {
    "named tuple": lambda y, training: Both(y, y + 1),
    "named tuple in training only": lambda y, training: Both(y, y + 1) if training else y,
    "ModelOutput": lambda y, training: ModelOutput(loss=None, logits=y),
    "dictionary": lambda y, training: {"logits": y, "features": y[:, :3]},
}


@pytest.mark.parametrize("kind", BESIDE)
def test_logits_beside_others_are_found(kind):
    network = build_network(Net(BESIDE[kind]), 10, SHAPE)
    x = torch.randn(3, *SHAPE)
    torch.testing.assert_close(network.eval()(x), network.module.fc(network.module.norm(x).flatten(1)))
    assert network.train()(x).shape == (3, 10)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (lambda y, training: (y, y), r"Net maps images \(2, 1, 16, 16\) to a tuple without logits; the data"),
        (lambda y, training: Other(y, y), r"Net maps images \(2, 1, 16, 16\) to a Other without logits"),
        (lambda y, training: {"out": y}, r"Net maps images \(2, 1, 16, 16\) to a dict without logits"),
        (lambda y, training: {"logits": y[:, 1:]}, r"Net maps images \(2, 1, 16, 16\) to \(2, 9\); the data have 10"),
    ],
)
def test_what_holds_no_logits_is_refused(outputs, said):
    for build in (build_network, lambda *given: build_teacher(*given, "logits")):
        with pytest.raises(ValueError, match=said):
            build(Net(outputs), 10, SHAPE)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (lambda y, training: (y, y) if training else y, "in training mode to a tuple without logits"),
        (lambda y, training: y[:, :3] if training else y, r"in training mode to \(2, 3\); the data have 10 classes"),
        (lambda y, training: y / 0 if training and 1 / 0 else y, "in training mode: ZeroDivisionError"),
    ],
)
def test_who_only_answers_need_not_be_able_to_learn(outputs, said):
    with pytest.raises(ValueError, match=said):
        build_network(Net(outputs), 10, SHAPE)
    assert build_teacher(Net(outputs), 10, SHAPE, "logits").eval()(torch.zeros(2, *SHAPE)).shape == (2, 10)


@pytest.mark.parametrize("training", [True, False])
def test_the_trial_leaves_no_trace(training):
    module = Net(lambda y, training: y).train(training)
    random, before = torch.get_rng_state(), {name: value.clone() for name, value in module.state_dict().items()}
    network = build_network(lambda: module, 10, SHAPE)
    assert torch.equal(torch.get_rng_state(), random)
    assert network.module is module
    assert {name: value.tolist() for name, value in module.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    assert module.training is module.dropout.training is training


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore::DeprecationWarning")
def test_the_trial_of_torchscript_leaves_no_trace():
    script = torch.jit.script(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(256, 10)))
    build_network(lambda: script, 10, SHAPE)
    assert script.state_dict()["0.num_batches_tracked"] == 0
    assert script.state_dict()["0.running_var"].tolist() == [1]


def ends_in(*last, classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(256, classes), *last)


class Exp(nn.Module):
    def forward(self, x):
        return x.exp()


SOFTMAX = {
    "softmax": lambda: ends_in(nn.Softmax(1)),
    "exp of log_softmax": lambda: ends_in(nn.LogSoftmax(1), Exp()),
    "softmax in evaluation only": lambda: Net(lambda y, training: y if training else y.softmax(1)),
    "softmax beside others": lambda: Net(lambda y, training: Both(y.softmax(1), y)),
}
LOGITS = {
    "linear": lambda: ends_in(),
    "log_softmax": lambda: ends_in(nn.LogSoftmax(1)),
    "sigmoid": lambda: ends_in(nn.Sigmoid()),
    "sum of 1": lambda: Net(lambda y, training: 3 * y.softmax(1) - 0.2),
    "ReLU": lambda: ends_in(nn.ReLU()),
    "constant": lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 10).requires_grad_(False), nn.Threshold(1e9, 0.0)),
}


@pytest.mark.parametrize("kind", SOFTMAX)
def test_probabilities_are_noticed(kind):
    with pytest.warns(UserWarning, match="ends in softmax, and its probabilities are taken for logits: take the soft"):
        build_network(SOFTMAX[kind](), 10, SHAPE)
    with pytest.warns(UserWarning, match="are taken for logits: give teacher_outputs: probabilities"):
        build_teacher(SOFTMAX[kind](), 10, SHAPE, "logits")


@pytest.mark.parametrize("kind", LOGITS)
def test_nothing_is_said_of_others(kind):
    with warnings.catch_warnings(action="error"):
        build_network(LOGITS[kind](), 10, SHAPE)
        build_teacher(LOGITS[kind](), 10, SHAPE, "logits")
    with pytest.raises(ValueError, match=r"teacher_outputs: .* gives no probabilities: some are negative, or"):
        build_teacher(LOGITS[kind](), 10, SHAPE, "probabilities")


def test_the_logarithm_of_probabilities_by_hand():
    module = ends_in(nn.Softmax(1), classes=2)
    nn.init.zeros_(module[1].weight)
    module[1].bias.data = torch.tensor([0.0, 3.0]).log1p()  # softmax is proportional to 1 and 4
    teacher = FrozenTeacher(build_teacher(module, 2, SHAPE, "probabilities"))
    expected = torch.tensor([[0.2, 0.8]]).log().expand(3, 2)
    torch.testing.assert_close(teacher(torch.randn(3, *SHAPE)), expected)
    teacher.load(None, "teacher_ckpt", {})  # folds it, if torch.fx can follow
    x = torch.randn(3, *SHAPE, requires_grad=True)
    torch.testing.assert_close(teacher(x), expected)
    torch.testing.assert_close(teacher.observe(x).logits, expected)
    torch.testing.assert_close(WithFeatures(teacher.network, ["1"])(x)[0], expected)
    assert teacher.network.parts() == [teacher.network]  # of which the modules alone would give probabilities


def test_a_probability_of_0_has_a_logarithm_and_a_gradient():
    module = ends_in(nn.Softmax(1))
    module[1].bias.data[0] = 1000
    network = build_teacher(module, 10, SHAPE, "probabilities")
    x = torch.randn(3, *SHAPE, requires_grad=True)
    network(x).sum().backward()
    assert network(x).isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("task", [DFADTask, KDTask])
def test_a_teacher_of_probabilities_from_python(task):
    data = NoImages(num_classes=10, image_shape=SHAPE, mean=(0.5,), std=(0.5,), steps_per_epoch=2, eval_steps=1)
    teacher, student = ends_in(nn.Softmax(1)), ends_in()
    options = {"batch_size": 8} if task is DFADTask else {}
    made = task(data.data_spec, teacher, student, None, teacher_outputs="probabilities", **options)
    x = torch.randn(3, *SHAPE)
    expected = teacher[:2](x).log_softmax(1)
    torch.testing.assert_close(made.teacher(x), expected)
    if task is DFADTask:
        trainer = make_trainer()
        trainer.fit(made, datamodule=data)
        torch.testing.assert_close(made.teacher(x), expected)
        torch.testing.assert_close(made.teacher.fast(x), expected)


@pytest.mark.slow
def test_a_teacher_of_probabilities_from_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "nets_of_probabilities.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import nets_of_probabilities

    torch.save(nets_of_probabilities.ends_in_softmax(10).state_dict(), "teacher.pth")
    words = [word for word in TINY_DFAD if not word.startswith("--model.teacher")]
    words += [*TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", "--model.teacher_ckpt=teacher.pth"]
    words += ["--model.teacher=nets_of_probabilities.ends_in_softmax", "--model.teacher_outputs=probabilities"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*softmax")
        cli = run_cli("fit", *words)
    x = torch.randn(3, *SHAPE)
    torch.testing.assert_close(cli.model.teacher(x).exp(), cli.model.teacher.network.module(x))
    assert "teacher_outputs: probabilities" in Path("logs/dfad/version_0/config.yaml").read_text()
    again = run_cli("test", "--config=logs/dfad/version_0/config.yaml", "--ckpt_path=last")
    torch.testing.assert_close(again.model.teacher(x), cli.model.teacher(x))


def test_networks_of_this_project_give_logits():
    with pytest.raises(ValueError, match="teacher_outputs: ResNet gives logits"):
        build_teacher(partial(ResNet, depth=10, width=4), 10, SHAPE, "probabilities")
    with warnings.catch_warnings(action="error"):
        assert type(build_network(partial(ResNet, depth=10, width=4), 10, SHAPE)) is ResNet
