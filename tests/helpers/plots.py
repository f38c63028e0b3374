"""Plots of small runs: what a drawing function is given, and whether its figure can be read."""

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from torch import nn
from torch.nn import functional as F

from helpers.commands import make_trainer
from helpers.scripted import ScriptedDataModule
from lightning_tasks import ClassificationTask
from lightning_tasks.networks import ImageNetwork

NAMES = ["ant", "bee", "cat"]
MANY = [f"{'class' if number % 9 else 'large_omnivore'}_{number}" for number in range(100)]


class Seer(ImageNetwork):
    """Has two maps, an image and its negative, and answers with the rest of the image's number divided by 3."""

    def __init__(self, num_classes, image_shape):
        super().__init__(num_classes, image_shape)
        self.maps = nn.Conv2d(1, 2, 1)
        self.maps.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        self.maps.bias.data.zero_()
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x):
        y = self.norm(self.maps(x)).mean(dim=(2, 3))
        return F.one_hot((x[:, 0, 0, 0] * 255).round().long() % 3, 3) + 0 * y.sum()


def spy(monkeypatch, module, name):
    """Let a drawing function draw, and keep what it is given."""
    calls, draw = [], getattr(module, name)

    def spying(*arguments):
        calls.append(arguments)
        return draw(*arguments)

    monkeypatch.setattr(module, name, spying)
    return calls


def fit(network, *callbacks, **options):
    """Train a network on the numbered images; returns its task."""
    data = ScriptedDataModule(batch_size=4)
    task = ClassificationTask(data.data_spec, network, optimizer=lambda params: torch.optim.SGD(params, lr=0.0))
    task.compile_networks = options.pop("compile", False)
    make_trainer(*callbacks, limit_val_batches=1.0, **options).fit(task, data)
    return task


def compile_with(monkeypatch, backend="eager"):
    """Let networks be compiled, by the whole machinery but its last and slow part; gives those that are."""
    compiled, compile_network = [], nn.Module.compile

    def compiling(self):
        compiled.append(self)
        compile_network(self, backend=backend)

    monkeypatch.setattr(nn.Module, "compile", compiling)
    return compiled


def require_readable(figure, card=400, least=5.0):
    """Nothing leaves the page, and on a card of TensorBoard letters are some pixels high."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = figure.bbox.size
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    page = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    for box in [page, *(text.get_window_extent() for text in texts if not text.get_in_layout())]:
        assert -1 <= box.x0 <= box.x1 <= width + 1
        assert -1 <= box.y0 <= box.y1 <= height + 1
    assert min(text.get_size() for text in texts) * figure.dpi / 72 * card / width >= least


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def confused(names, seed=0):
    """Counts in which no two cells are equal, so that each has one place only."""
    return np.random.default_rng(seed).permutation(len(names) ** 2).reshape(len(names), -1)


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
