"""The generator's images: any height and width, and the squares that it has always made."""

import logging
import re
from functools import partial

import pytest
import torch
import torchvision
from helpers.commands import TINY_TRAINER, make_trainer, run_cli
from pytorch_lightning import Callback
from torch import nn

from datamodules import NoImages
from lightning_tasks import CNN, DFADTask, ImageGenerator
from lightning_tasks.data_free.memory_check import require_memory, saved_bytes


@pytest.mark.parametrize(
    ("size", "start", "doublings"),
    [
        ((8, 8), (2, 2), 2),
        ((9, 9), (3, 3), 2),
        ((28, 28), (7, 7), 2),
        ((32, 64), (4, 8), 3),
        ((33, 20), (5, 3), 3),
        ((65, 65), (5, 5), 4),
        ((96, 96), (6, 6), 4),
        ((224, 224), (7, 7), 5),
        ((225, 224), (8, 7), 5),
        ((8, 100), (2, 25), 2),
        ((16, 1000), (2, 125), 3),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_height_and_width(size, start, doublings, channels):
    generator = ImageGenerator((channels, *size), latent_dim=10, width=2)
    assert sum(isinstance(module, nn.Upsample) for module in generator.modules()) == doublings
    assert generator.layers[1].unflattened_size == (4, *start)
    x = generator(torch.randn(8, 10))
    assert x.shape == (8, channels, *size)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(channels), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(channels), atol=2e-2, rtol=0)


@pytest.mark.parametrize("size", [(7, 7), (32, 7), (1, 64)])
def test_too_small(size):
    with pytest.raises(ValueError, match=f"images of at least 8 x 8 pixels, got {size[0]} x {size[1]}"):
        ImageGenerator((3, *size))


def former(channels, side, latent_dim, width):
    """The layers of a square of 16, 32 or 64 pixels, as figures were made with."""
    doublings = 3 if side == 64 else 2
    start = side // 2**doublings
    layers = [nn.Linear(latent_dim, 2 * width * start**2), nn.Unflatten(1, (2 * width, start, start))]
    layers.append(nn.BatchNorm2d(2 * width))
    for index in range(doublings):
        out = width if index == doublings - 1 else 2 * width
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, out, 3, padding=1), nn.BatchNorm2d(out)]
        layers.append(nn.LeakyReLU(0.2))
    layers += [nn.Conv2d(width, channels, 3, padding=1), nn.Tanh(), nn.BatchNorm2d(channels, affine=False)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_squares_are_what_they_were_to_the_bit(side, channels):
    torch.manual_seed(0)
    before = former(channels, side, 10, 4)
    random = torch.get_rng_state()
    torch.manual_seed(0)
    generator = ImageGenerator((channels, side, side), latent_dim=10, width=4)
    assert torch.equal(torch.get_rng_state(), random)
    assert list(generator.layers.state_dict()) == list(before.state_dict())
    z = torch.randn(8, 10)
    assert torch.equal(generator(z), before(z))
    assert all(
        torch.equal(a, b) for a, b in zip(generator.state_dict().values(), before.state_dict().values(), strict=True)
    )


def test_the_middle_is_kept():
    """Of 12 x 12 positions those from 1 to 9, and of 3 too many the lesser part is cut off on top and left."""
    generator = ImageGenerator((1, 9, 9), latent_dim=10, width=2).eval()
    z = torch.randn(2, 10)
    whole = generator.layers[:-2](z)
    assert whole.shape == (2, 1, 12, 12)
    torch.testing.assert_close(generator(z) * (1 + 1e-5) ** 0.5, whole[:, :, 1:10, 1:10])


class TestMemory:
    def test_what_a_gradient_needs_by_hand(self):
        """A product keeps its input, 5 x 3 numbers, and its weights, 4 x 3; exp what it gives, 5 x 4."""
        layer = nn.Linear(3, 4, bias=False)
        x = torch.randn(5, 3, requires_grad=True)
        assert saved_bytes(lambda: layer(x).exp()) == 4 * (15 + 12 + 20)
        with torch.no_grad():
            assert saved_bytes(lambda: layer(x).exp()) == 4 * (15 + 12 + 20)

    def test_it_grows_with_the_batch_but_for_the_weights(self):
        layer = nn.Linear(3, 4, bias=False)
        found = require_memory(
            lambda count: layer(torch.ones(count, 3, requires_grad=True)).exp(), 100, torch.device("cpu")
        )
        assert found == 4 * (12 + 100 * (3 + 4))

    def test_more_than_there_is_is_refused(self, monkeypatch):
        monkeypatch.setattr("lightning_tasks.data_free.memory_check.memory", lambda device: (2**30, "this machine has"))
        layer = nn.Linear(2**20, 1, bias=False)

        def step(count):
            return layer(torch.ones(count, 2**20, requires_grad=True))

        assert require_memory(step, 255, torch.device("cpu")) == 2**30
        said = r"batch_size: a step of the generator on 512 images needs 2.0 GiB, and this machine has 1.0; make it, or"
        with pytest.raises(ValueError, match=said):
            require_memory(step, 512, torch.device("cpu"))


class Start(Callback):
    """Keeps what the task is made of when training starts."""

    def on_train_start(self, trainer, pl_module):
        self.state = {name: value.clone() for name, value in pl_module.state_dict().items()}


def cnn(width):
    return lambda classes, shape: CNN(classes, shape, stages=((width,), (2 * width,)), hidden_sizes=(4 * width,))


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 8, 8), (4, 20, 36)])
def test_such_images_teach(shape, caplog):
    """The first are those of the CNN of MNIST; what is said before it starts leaves no trace."""
    caplog.set_level(logging.INFO)
    mean = (0.5,) * shape[0]
    data = NoImages(5, image_shape=shape, mean=mean, std=mean, steps_per_epoch=2, eval_steps=1)
    options = {"generator": lambda shape: ImageGenerator(shape, 8, 4), "batch_size": 8}
    task = DFADTask(data.data_spec, nn.Sequential(cnn(4)(5, shape)), cnn(2), None, **options)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    start = Start()
    make_trainer(start, limit_val_batches=1).fit(task, datamodule=data)
    assert all(torch.equal(value, start.state[name]) for name, value in before.items())
    assert not all(torch.equal(value, task.state_dict()[name]) for name, value in before.items())
    (line,) = [line for line in caplog.messages if line.startswith("memory: ")]
    said = rf"memory: about \d MiB for a step of the generator on 8 images of {shape[1]} x {shape[2]}"
    assert re.fullmatch(said, line), line
    images, probabilities = task.sample(20)
    assert images.shape == (20, *shape)
    assert probabilities.shape == (20, 5)


BUILDER = """
from torch import nn


def net(num_classes, image_shape):
    layers = nn.Conv2d(image_shape[0], 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes)
    return nn.Sequential(*layers)
"""


@pytest.mark.parametrize("shape", [(2, 8, 11), (4, 20, 36)])
def test_such_images_are_drawn(shape, tmp_path, monkeypatch):
    (tmp_path / "net_of_any_size.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(str(tmp_path))
    half = [0.5] * shape[0]
    words = ["--model=DFADTask", "--model.teacher=net_of_any_size.net", "--model.student=net_of_any_size.net"]
    words += [
        "--model.teacher_ckpt=null",
        "--model.batch_size=8",
        "--model.generator.width=4",
        *TINY_TRAINER,
        "--plots=true",
    ]
    words += ["--data=NoImages", "--data.num_classes=3", f"--data.image_shape={[*shape]}", f"--data.mean={half}"]
    words += [f"--data.std={half}", "--data.steps_per_epoch=2", "--data.eval_steps=1", "--trainer.max_epochs=1"]
    run_cli("fit", *words, "--trainer.callbacks=[GeneratedPlot]", "--experiment=any")
    figures = {path.name for path in (tmp_path / "logs/any/version_0/figures").iterdir()}
    assert {"generated_0001.png", "synthetic_images.png"} <= figures


@pytest.mark.slow
def test_a_resnet18_of_224_pixels_teaches():
    """Two rounds, with the generator's own width."""
    half = (0.5, 0.5, 0.5)
    shape = (3, 224, 224)
    data = NoImages(10, image_shape=shape, mean=half, std=half, steps_per_epoch=2, eval_steps=1)
    student = partial(torchvision.models.resnet18, num_classes=10)
    task = DFADTask(data.data_spec, torchvision.models.resnet18(num_classes=10), student, None, batch_size=4)
    make_trainer(limit_val_batches=1).fit(task, datamodule=data)
    assert task.sample(2)[0].shape == (2, *shape)
