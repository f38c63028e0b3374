"""ClassificationTask: losses, schedules and metrics."""

import math

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import TINY_DATA, TINY_TEACHER, TINY_TRAINER, make_trainer, run_cli

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.callbacks import TestCurve
from lightning_tasks.distillation.plots import ChangesPlot
from lightning_tasks.image_task import accuracy
from lightning_tasks.networks import ImageNetwork
from lightning_tasks.runs.weights import fitting

FACTS = {"dataset": "any", "num_classes": 10, "image_shape": (1, 8, 8), "mean": (0.3,), "std": (0.3,)}


def make(**options):
    data = DigitsDataModule(image_size=8, batch_size=50, **options)
    return ClassificationTask(
        data.data_spec,
        network=lambda classes, shape: MLP(classes, shape, (32,)),
        optimizer=lambda params: torch.optim.Adam(params, lr=1e-2),
    ), data


def test_learns_a_small_set_by_heart():
    task, data = make(train_per_class=5)
    trainer = make_trainer(max_epochs=40, limit_val_batches=1.0)
    trainer.fit(task, data)
    assert trainer.callback_metrics["train/acc"] == 1
    assert trainer.callback_metrics["train/loss"] < 0.05
    assert trainer.callback_metrics["val/acc"] > 0.5
    assert {"loss", "acc", "val/acc"} <= trainer.progress_bar_metrics.keys()


def test_accuracy_is_the_share_of_right_answers():
    task, data = make()
    tested = make_trainer().test(task, data, verbose=False)[0]["test/acc"]
    x, y = data.test_set.images.float() / 255, data.test_set.labels
    with torch.no_grad():
        right = task(data.normalise(x)).argmax(dim=1) == y
    assert tested == pytest.approx(right.float().mean().item())
    assert accuracy(torch.tensor([[3, 1], [0, 4]])).item() == pytest.approx(7 / 8)


def test_train_loss_is_the_mean_over_the_epoch():
    task, data = make(train_per_class=10)
    data.batch_size = 70  # an uneven last batch
    seen = []
    track = task.track

    def spy(name, value, count):
        seen.append((name, value.item(), count))
        track(name, value, count)

    task.track = spy
    trainer = make_trainer()
    trainer.fit(task, data)
    losses = [value * count for name, value, count in seen if name == "loss"]
    assert [count for name, _, count in seen if name == "loss"] == [70, 30]
    assert trainer.callback_metrics["train/loss"] == pytest.approx(sum(losses) / 100)


def test_checkpoint_made_from_python_is_plain_and_resumes(tmp_path):
    task, data = make(train_per_class=10)
    trainer = make_trainer()
    trainer.fit(task, data)
    path = tmp_path / "a.ckpt"
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["hyper_parameters"]["data_spec"] == data.data_spec
    network = MLP(10, (1, 8, 8), (32,))
    network.load_state_dict(fitting(checkpoint["state_dict"], network, "they"))
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(network(x), task(x))
    again, data = make(train_per_class=10)
    trainer = make_trainer(max_epochs=2)
    trainer.fit(again, data, ckpt_path=path)
    assert trainer.current_epoch == 2


def test_plain_options_given_from_python_are_kept_in_a_checkpoint():
    weights = [1.0, *[2.0] * 9]
    task = ClassificationTask(FACTS, network=MLP, class_weights=weights)
    assert task.hparams["class_weights"] == weights
    assert "network" not in task.hparams


class Scores(ImageNetwork):
    """Gives the first ten pixels as scores, times a weight."""

    def __init__(self, num_classes, image_shape):
        super().__init__(num_classes, image_shape)
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x.flatten(1)[:, :10] * self.factor


def step(task, y):
    """What is tracked of one training step on two images whose first and second pixel are bright."""
    x = torch.zeros(2, 1, 8, 8)
    x[0, 0, 0, 0] = x[1, 0, 0, 1] = 1.0
    tracked = {}
    task.track = lambda name, value, count: tracked.update({name: (value.item(), count)})
    task.training_step((x, y), 0)
    return tracked


def test_options_reach_the_loss():
    y = torch.tensor([0, 3])
    p = [math.exp(1) / (math.exp(1) + 9), 1 / (math.exp(1) + 9)]  # of the bright pixel, and of any other
    weights = [1.0, 1, 1, 4, 1, 1, 1, 1, 1, 1]
    assert step(ClassificationTask(FACTS, Scores), y)["loss"][0] == pytest.approx(-math.log(p[0] * p[1]) / 2)
    weighted = step(ClassificationTask(FACTS, Scores, class_weights=weights), y)
    assert weighted["loss"][0] == pytest.approx(-(math.log(p[0]) + 4 * math.log(p[1])) / 5)
    smooth = step(ClassificationTask(FACTS, Scores, label_smoothing=0.5), y)
    all_classes = (math.log(p[0]) + 9 * math.log(p[1])) / 10
    assert smooth["loss"][0] == pytest.approx(-0.5 * all_classes - 0.5 * math.log(p[0] * p[1]) / 2)


def test_soft_labels_count_by_their_greatest_share():
    y = torch.zeros(2, 10)
    y[0, :2] = torch.tensor([0.6, 0.4])
    y[1, 1:3] = torch.tensor([0.3, 0.7])
    assert step(ClassificationTask(FACTS, Scores), y)["acc"] == (0.5, 2)


def test_class_weights_of_another_number_are_refused():
    with pytest.raises(ValueError, match="class_weights: 3 of them for 10 classes"):
        ClassificationTask(FACTS, MLP, class_weights=[1, 1, 1])


def test_flip_in_evaluations_is_the_mean_of_both_views():
    x = torch.randn(3, 1, 8, 8)
    task = ClassificationTask(FACTS, MLP, test_time_flip=True, ema_decay=0.9)
    task.ema.module.layers[-1].bias.data += 1
    networks = task.evaluated("test")
    assert list(networks) == ["", "_ema"]
    for suffix, network in (("", task.network), ("_ema", task.ema.module)):
        torch.testing.assert_close(networks[suffix](x), (network(x) + network(x.flip(3))) / 2)
    assert torch.equal(ClassificationTask(FACTS, Scores).evaluated("val")[""](x), Scores(10, (1, 8, 8))(x))
    both = (task.network(x) + task.network(x.flip(3))) / 2
    torch.testing.assert_close(task.predict_step((x, None), 0)[0], both.softmax(1))


def test_initialisation_is_drawn_anew():
    task = ClassificationTask(FACTS, lambda classes, shape: MLP(classes, shape, (500,)), initialisation="random")
    assert task.network.layers[1].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not task.network.layers[1].bias.any()


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_schedule_is_stepped_at_each_step_or_each_epoch(interval):
    """Four batches an epoch, three epochs; one cycle has its peak after 3 of 11 intervals."""
    _, data = make(train_per_class=20)
    rates = []

    class Rates(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    schedules = {
        "step": lambda optimizer, total_steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps),
        "epoch": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
    }
    task = ClassificationTask(
        data.data_spec,
        lambda classes, shape: MLP(classes, shape, (8,)),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1),
        scheduler=schedules[interval],
        scheduler_interval=interval,
    )
    make_trainer(Rates(), max_epochs=3).fit(task, data)
    if interval == "epoch":
        assert rates == [0.1] * 4 + [0.05] * 4 + [0.025] * 4
    else:
        cycle = schedules["step"](torch.optim.SGD([torch.zeros(1)], lr=0.1), 12)
        expected = [cycle.get_last_lr()[0]]
        for _ in range(11):
            cycle.optimizer.step()
            cycle.step()
            expected.append(cycle.get_last_lr()[0])
        assert rates == pytest.approx(expected)


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_schedule_of_the_other_interval_is_refused(interval):
    _, data = make(train_per_class=5)
    schedules = {
        "epoch": lambda optimizer, **options: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, **options),
        "step": lambda optimizer, **options: torch.optim.lr_scheduler.StepLR(optimizer, 1, **options),
    }
    task = ClassificationTask(data.data_spec, MLP, scheduler=schedules[interval], scheduler_interval=interval)
    with pytest.raises(ValueError, match=f"scheduler, with scheduler_interval {interval}: .*total_steps"):
        make_trainer().fit(task, data)


def test_compiled_network_keeps_its_keys(monkeypatch):
    task, data = make()
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(self))
    task.compile_networks = True
    keys = list(task.state_dict())
    make_trainer(limit_train_batches=1).fit(task, data)
    assert compiled == [task.network]
    assert list(task.state_dict()) == keys


def test_channels_last_changes_the_order_only():
    from lightning_tasks import ResNet

    def build(channels_last):
        pl.seed_everything(3)
        return ClassificationTask(
            FACTS | {"image_shape": (1, 16, 16)},
            network=lambda classes, shape: ResNet(classes, shape, depth=10, width=4),
            channels_last=channels_last,
        )

    plain, fast = build(False), build(True)
    fast.trainer = make_trainer()
    fast.setup("test")
    weight = fast.network.layer2[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-5)


def test_means_must_fit_the_channels():
    with pytest.raises(ValueError, match="3 channels need as many means"):
        ClassificationTask(FACTS | {"image_shape": (3, 8, 8)}, network=MLP)


def test_flips_are_in_all_figures_of_a_test(teacher_ckpt):
    """The curve of the test set, the predictions, and another run that images are compared with."""
    task, data = make(train_per_class=5)
    task.test_time_flip = True
    trainer = make_trainer(TestCurve(), max_epochs=1, limit_val_batches=1.0)
    trainer.fit(task, data)
    drawn = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("test_curve/")}
    tested = trainer.test(task, data, verbose=False)[0]
    assert drawn == pytest.approx({f"test_curve/{name}": tested[f"test/{name}"] for name in ("acc", "loss")})
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--model.test_time_flip=true", "--plots=true"]
    compared = ["--trainer.callbacks=ChangesPlot", f"--trainer.callbacks.control={teacher_ckpt}"]
    trainer = run_cli("test", *words, f"--ckpt_path={teacher_ckpt}", *compared).trainer
    (plot,) = (each for each in trainer.callbacks if isinstance(each, ChangesPlot))
    torch.testing.assert_close(plot.confidence, plot.other_confidence)
    plain = run_cli("test", *words, f"--ckpt_path={teacher_ckpt}", "--model.test_time_flip=false").trainer
    assert plain.callback_metrics["test/loss"] != trainer.callback_metrics["test/loss"]
