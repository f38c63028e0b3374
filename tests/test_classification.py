import pytest
import pytorch_lightning as pl
import torch
from conftest import make_trainer

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.image_task import accuracy
from lightning_tasks.teacher import network_weights

FACTS = {"dataset": "any", "num_classes": 10, "image_shape": (1, 8, 8), "mean": (0.3,), "std": (0.3,)}


def make(**options):
    data = DigitsDataModule(image_size=8, batch_size=50, **options)
    return ClassificationTask(
        data.facts,
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
    assert checkpoint["hyper_parameters"]["facts"] == data.facts
    network = MLP(10, (1, 8, 8), (32,))
    network.load_state_dict(network_weights(checkpoint))
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(network(x), task(x))
    again, data = make(train_per_class=10)
    trainer = make_trainer(max_epochs=2)
    trainer.fit(again, data, ckpt_path=path)
    assert trainer.current_epoch == 2


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
    weight = fast.network.stages[1][0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-5)


def test_means_must_fit_the_channels():
    with pytest.raises(ValueError, match="3 channels need as many means"):
        ClassificationTask(FACTS | {"image_shape": (3, 8, 8)}, network=MLP)
