"""Networks by hand under Lightning: the same weights as autograd and torch.optim give, on either backend."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.commands import TINY_BY_HAND, TINY_DATA, TINY_TRAINER, make_trainer, run_card, run_cli
from torch import nn
from torch.nn import functional as F

from datamodules import DigitsDataModule
from lightning_tasks import ByHandTask
from lightning_tasks.by_hand import Conv2d, Flatten, GradientDescent, Layer, Linear, MaxPool2d, Momentum, ReLU, RMSProp


def mlp():
    return [Flatten(), Linear(64, 16), ReLU(), Linear(16, 10)]


def cnn():
    return [Conv2d(1, 3, 3), ReLU(), MaxPool2d(), Flatten(), Linear(48, 10)]


def make(rule, layers=mlp, data_options=None, **options):
    data = DigitsDataModule(image_size=8, **({"batch_size": 25, "train_per_class": 10} | (data_options or {})))
    torch.manual_seed(0)
    return ByHandTask(data.data_spec, layers=layers(), rule=rule, **options), data


class Reference(nn.Module):
    """The same network for autograd, from the task's weights."""

    def __init__(self, task):
        super().__init__()
        self.weights = nn.ParameterDict({name: weight.detach().clone() for name, weight in task.weights.items()})

    def forward(self, x):
        w = self.weights
        if "conv2d_1_weight" in w:
            x = F.max_pool2d(F.relu(F.conv2d(x, w["conv2d_1_weight"], w["conv2d_1_bias"], padding="same")), 2)
            return x.flatten(1) @ w["linear_1_weight"] + w["linear_1_bias"]
        x = F.relu(x.flatten(1) @ w["linear_1_weight"] + w["linear_1_bias"])
        return x @ w["linear_2_weight"] + w["linear_2_bias"]


@pytest.mark.parametrize("backend", ["torch", "numpy"])
@pytest.mark.parametrize("layers", [mlp, cnn])
@pytest.mark.parametrize("update_every", ["mini-batch", "sample", "epoch"])
@pytest.mark.parametrize(
    ("rule", "optimizer_class", "options"),
    [
        (GradientDescent(0.1), torch.optim.SGD, {"lr": 0.1}),
        (Momentum(0.01, 0.9), torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
        (RMSProp(0.001, 0.9), torch.optim.RMSprop, {"lr": 0.001, "alpha": 0.9}),
    ],
    ids=["gd", "momentum", "rmsprop"],
)
def test_trains_like_autograd_and_torch_optim(rule, optimizer_class, options, update_every, layers, backend):
    task, data = make(rule, layers, update_every=update_every, l2=1e-2, backend=backend)
    reference = Reference(task)
    decayed = [weight for name, weight in reference.weights.items() if "bias" not in name]
    others = [weight for name, weight in reference.weights.items() if "bias" in name]
    groups = [{"params": decayed, "weight_decay": 1e-2}, {"params": others}]
    optimizer = optimizer_class(groups, **options)
    losses = []
    seen = []
    step = task.training_step

    def spy(batch, batch_idx):
        seen.append(tuple(each.clone() for each in batch))
        return step(batch, batch_idx)

    task.training_step = spy
    trainer = make_trainer(max_epochs=2, barebones=False)
    trainer.fit(task, data)
    for epoch in (seen[: len(seen) // 2], seen[len(seen) // 2 :]):
        if update_every == "epoch":
            epoch = [tuple(map(torch.cat, zip(*epoch, strict=True)))]
        elif update_every == "sample":
            epoch = [(x[i : i + 1], y[i : i + 1]) for x, y in epoch for i in range(len(y))]
        for x, y in epoch:
            optimizer.zero_grad()
            loss = F.cross_entropy(reference(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert trainer.global_step == len(losses) == {"mini-batch": 8, "sample": 200, "epoch": 2}[update_every]
    for name, weight in task.weights.items():
        torch.testing.assert_close(weight, reference.weights[name], rtol=1e-3, atol=1e-5)
    last = losses[len(losses) // 2 :]
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(sum(last) / len(last), rel=1e-3)


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_learns_a_small_set_by_heart(backend):
    task, data = make(Momentum(0.05, 0.9), backend=backend)
    trainer = make_trainer(max_epochs=30, limit_val_batches=1.0)
    trainer.fit(task, data)
    assert trainer.callback_metrics["train/acc"] == 1
    assert trainer.callback_metrics["val/acc"] > 0.8


def test_no_gradient_of_pytorch_is_made(monkeypatch):
    enabled = []
    for layer in (Conv2d, Linear, ReLU, MaxPool2d, Flatten):
        for method in ("forward", "backward"):
            original = getattr(layer, method)

            def spy(self, *args, original=original, **kwargs):
                result = original(self, *args, **kwargs)
                enabled.append(torch.is_grad_enabled() or getattr(result, "requires_grad", False))
                return result

            monkeypatch.setattr(layer, method, spy)
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_, **__: pytest.fail("backward of PyTorch"))
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("grad of PyTorch"))
    task, data = make(GradientDescent(0.1), cnn)
    trainer = make_trainer(limit_val_batches=1.0)
    trainer.fit(task, data)
    assert enabled
    assert not any(enabled)
    assert all(parameter.grad is None for parameter in task.parameters())
    assert trainer.optimizers == []


def test_cosine_schedule_ends_near_zero():
    task, data = make(GradientDescent(0.1), schedule="cosine")
    rates = []
    update = task.rule.update

    def spy(w, g, *states, scale):
        rates.append(scale)
        update(w, g, *states, scale=scale)

    task.rule.update = spy
    make_trainer(max_epochs=4).fit(task, data)
    per_epoch = rates[:: len(rates) // 4]
    assert per_epoch == pytest.approx([1, 0.853553, 0.5, 0.146447], rel=1e-4)


def test_layers_follow_when_the_module_is_converted():
    task, _ = make(Momentum(0.1))
    before = task.weights["linear_1_weight"].clone()
    task.double()
    layer = task.network.layers["linear_1"]
    assert layer.weight.dtype == torch.float64
    layer.weight += 1
    assert torch.equal(task.weights["linear_1_weight"], before.double() + 1)


def test_checkpoint_is_plain_and_holds_what_the_rule_remembers(tmp_path):
    task, data = make(Momentum(0.05))
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert state["weights.linear_2_weight"].shape == (16, 10)
    assert state["rule_states.linear_2_weight_velocity"].abs().sum() > 0
    again, data = make(Momentum(0.05), backend="numpy")  # a checkpoint of either backend serves the other
    trainer = make_trainer(max_epochs=2)
    trainer.fit(again, data, ckpt_path=tmp_path / "a.ckpt")
    assert trainer.current_epoch == 2


def test_penalty_is_logged():
    task, data = make(GradientDescent(0.1), l2=0.5)
    trainer = make_trainer()
    trainer.fit(task, data)
    weights = [weight.double() for name, weight in task.weights.items() if "bias" not in name]
    expected = 0.25 * sum(weight.square().sum().item() for weight in weights)
    assert trainer.callback_metrics["train/loss_l2"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_half_precision():
    task, data = make(Momentum(0.05), cnn)
    trainer = make_trainer(max_epochs=30, precision="bf16-mixed")
    trainer.fit(task, data)
    assert trainer.callback_metrics["train/acc"] > 0.95
    assert all(weight.dtype == torch.float32 for weight in task.weights.values())
    rough, data = make(Momentum(0.05), update_every="epoch", data_options={"batch_size": 1})  # a sum of 100 batches
    make_trainer(precision="bf16-mixed").fit(rough, data)
    exact, data = make(Momentum(0.05), update_every="epoch", data_options={"batch_size": 1})
    make_trainer().fit(exact, data)
    for name, weight in rough.weights.items():
        torch.testing.assert_close(weight, exact.weights[name], rtol=0.02, atol=1e-3)
    task, data = make(Momentum(0.05))
    task.trainer = SimpleNamespace(precision="16-mixed")  # which Lightning offers on a GPU only
    with pytest.raises(ValueError, match=r"precision 16-mixed: .* use bf16-mixed or 32-true"):
        task.on_fit_start()


def test_layer_outputs_by_name():
    task, _ = make(GradientDescent(0.1))
    x = torch.randn(3, 1, 8, 8)
    outputs = task.layer_outputs(x, ["relu_1", "linear_2"])
    assert list(outputs) == ["relu_1", "linear_2"]
    assert torch.equal(outputs["linear_2"], task(x))
    assert outputs["relu_1"].shape == (3, 16)
    with pytest.raises(ValueError, match=r"no layer 'relu_9' in the network; known are relu_1 and 3 more"):
        task.layer_outputs(x, ["relu_9"])


class Unknown(Layer):
    """A layer from outside the room."""

    def output_shape(self, shape):
        return (7,)

    def forward(self, x):
        return x[:, :7]


def test_scores_must_fit_the_classes():
    with pytest.raises(ValueError, match=r"scores of shape \(10,\), one a class, but gives \(7,\)"):
        make(GradientDescent(0.1), lambda: [*mlp(), Unknown()])


def test_labels_out_of_range():
    task, data = make(GradientDescent(0.1))
    data.prepare_data()
    data.train_set = data.train_set.relabelled(torch.tensor([*range(9), 10]))
    with pytest.raises(ValueError, match=r"labels must be in 0 \.\.\. 9, got 10"):
        make_trainer().fit(task, data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update_every": "minibatch"}, "update_every must be one of mini-batch, sample, epoch, got 'minibatch'"),
        ({"schedule": "step"}, "schedule must be one of constant, cosine"),
        ({"backend": "jax"}, "backend must be one of torch, numpy"),
        ({"initialisation": "lecun"}, "no initialisation 'lecun'; known are random, xavier, he"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        make(GradientDescent(0.1), **options)


def test_trainers_that_do_not_fit():
    task, _ = make(GradientDescent(0.1), backend="numpy")
    task.trainer = SimpleNamespace(precision="bf16-mixed")
    with pytest.raises(ValueError, match=r"backend numpy needs trainer.precision 32-true or 64-true, got bf16-mixed"):
        task.on_fit_start()
    task, data = make(GradientDescent(0.1), schedule="cosine")
    with pytest.raises(ValueError, match=r"schedule cosine needs trainer.max_epochs"):
        make_trainer(max_epochs=-1, max_steps=3).fit(task, data)


def test_layers_compute_in_plain_python_after_a_fit():
    task, data = make(GradientDescent(0.1), cnn, data_options={"eval_batch_size": 25})
    make_trainer(limit_val_batches=1.0).fit(task, data)
    x = torch.randn(25, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(task.network.forward(x), task(x))


def test_numpy_refuses_another_device():
    task, _ = make(GradientDescent(0.1), backend="numpy")
    with pytest.raises(ValueError, match="numpy computes on the CPU only"):
        task.to("meta")


def test_divergence_says_the_epoch_and_keeps_the_last_good_checkpoint(tmp_path):
    words = ["fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--experiment=diverging", "--trainer.max_epochs=2"]
    run_cli(*words)
    last = tmp_path / "logs/diverging/version_0/checkpoints/last.ckpt"
    good = last.read_bytes()
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["state_dict"]["rule_states.linear_1_weight_velocity"] += 1e38  # as a learning rate too high makes it
    torch.save(checkpoint, last)
    bad = last.read_bytes()
    with pytest.raises(FloatingPointError, match="in epoch 3: training diverged; lower the learning rate"):
        run_cli(*[word.replace("max_epochs=2", "max_epochs=4") for word in words], "--ckpt_path=last")
    assert last.read_bytes() == bad != good
    assert torch.load(tmp_path / "logs/diverging/version_0/checkpoints/best.ckpt", weights_only=True)


@pytest.mark.slow
def test_command_line_with_pictures_and_without():
    callbacks = (
        '--trainer.callbacks=["TestCurve", "CurvesPlot",'
        '{"class_path": "TSNEPlot", "init_args": {"layer": "relu_1", "epochs": [1, -1]}}]'
    )
    words = ["fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--plots=true"]
    words += ["--trainer.max_epochs=2", "--model.l2=0.1", callbacks]
    cli = run_cli(*words, "--experiment=drawn")
    figures = {path.name for path in Path("logs/drawn/version_0/figures").iterdir()}
    assert figures == {"curves.png", "tsne_relu_1_0001.png", "tsne_relu_1_0002.png"}
    history = next(each for each in cli.trainer.callbacks if hasattr(each, "history")).history
    assert {"test_curve/loss", "test_curve/acc", "train/loss", "val/acc"} <= set(history)
    assert all([epoch for epoch, _ in points] == [0, 1] for points in history.values())
    last = torch.load("logs/drawn/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    weights = [last[f"weights.{name}"] for name in cli.model.weights if "bias" not in name]
    penalty = 0.05 * sum(weight.square().sum().item() for weight in weights)
    assert history["train/loss_l2"][-1][1] == pytest.approx(penalty, rel=1e-5)
    run_cli(*words, "--experiment=bare", "--plots=false")
    assert not Path("logs/bare/version_0/figures").exists()
    assert run_card("bare")["metrics"] == run_card("drawn")["metrics"]
    assert run_card("bare")["config_hash"] == run_card("drawn")["config_hash"]
    assert re.fullmatch(r"\d+", str(run_card("bare")["parameters"]["network"]))


def test_soft_labels_are_refused():
    mixed = '--data.augment=[{"class_path": "datamodules.BatchMixUp"}]'
    with pytest.raises(ValueError, match=r"data.augment: MixUp and CutMix make labels soft"):
        run_cli("fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=1", mixed)
