"""What parts of the classifiers' recipes cost or save: the loader, augmentations, plots, kept features."""

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.transforms import v2

from datamodules import (
    BatchCutMix,
    BatchMixUp,
    BatchRandomCrop,
    BatchRandomFlip,
    InGroups,
    MNISTDataModule,
    ProgressiveResize,
)
from lightning_tasks.callbacks import Plot
from lightning_tasks.cli.main import main
from tools.benchmarks.measure import Comparison, EpochClock, compare, seconds, train_epoch

CONFIGS = Path(__file__).parents[2] / "configs"
BATCH_SIZE = 128
PAIRS = 3


def run(root: str) -> list[Comparison]:
    """Measure all of them; kept features only where their weights and images are."""
    rows = [_fully_connected(root), *_augmentations(), _pictures(root)]
    if (Path(root) / "cifar100_resnet56.pth").exists() and (Path(root) / "cifar10_small").exists():
        rows.append(_features(root))
    return rows


def _build(config: str, *options: str) -> Any:
    return main([f"--config={CONFIGS / config}.yaml", "--trainer.accelerator=cpu", *options], run=False)


def _fully_connected(root: str) -> Comparison:
    """An epoch of mnist_fcn.yaml against the usual loop: PIL images, per-image transforms, two workers."""
    cli = _build("mnist_fcn", f"--data.root={root}")
    normalise = [transforms.ToTensor(), transforms.Normalize(MNISTDataModule.mean, MNISTDataModule.std)]
    mnist = datasets.MNIST(root, transform=transforms.Compose(normalise))
    network = copy.deepcopy(cli.model.network)
    optimizer = cli.model.optimizer(network.parameters())
    cli.datamodule.prepare_data()
    share = len(cli.datamodule.train_set) / len(mnist)

    def epoch() -> None:
        loader = DataLoader(mnist, batch_size=BATCH_SIZE, shuffle=True, num_workers=2)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()

    ours, theirs = [], []
    for _ in range(PAIRS + 1):
        clock = EpochClock()
        train_epoch(copy.deepcopy(cli.model), cli.datamodule, clock)
        ours.append(clock.seconds)
        theirs.append(share * seconds(epoch))
    return compare("epoch of mnist_fcn.yaml", "bare loop, torchvision + PIL, 2 workers", "s", ours, theirs, bar=2)


def _augmentations() -> list[Comparison]:
    """Augmentations of a batch against the training step of cifar100_cnn.yaml that it is for."""
    from kornia import augmentation as kornia

    network = _build("cifar100_cnn").model.network
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.rand(BATCH_SIZE, 3, 32, 32), torch.randint(0, 100, (BATCH_SIZE,))
    soft = F.one_hot(y, 100).float()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    resize, mixup, cutmix = ProgressiveResize(), BatchMixUp(), BatchCutMix()
    ways: dict[str, Callable[[], Any]] = {
        "crop": partial(BatchRandomCrop(), x),
        "flip": partial(BatchRandomFlip(), x),
        "MixUp": partial(mixup, x, soft),
        "CutMix": partial(cutmix, x, soft),
        "progressive resizing": partial(resize, x, 0.0),
        "Cutout": partial(kornia.RandomErasing(scale=(0.25, 0.25), ratio=(1.0, 1.0), p=1.0), x),
        "RandAugment": partial(InGroups(v2.RandAugment()), x),
        "TrivialAugment": partial(InGroups(v2.TrivialAugmentWide()), x),
        "random affine": partial(kornia.RandomAffine(10.0, translate=(0.1, 0.1), p=1.0), x),
        "rotation": partial(kornia.RandomRotation(15.0, p=1.0), x),
        "sharpness": partial(kornia.RandomSharpness(1.0, p=1.0), x),
        "colour jitter": partial(kornia.ColorJitter(0.2, 0.2, 0.2, p=1.0), x),
        "vertical flip": partial(kornia.RandomVerticalFlip(p=0.5), x),
        "greyscale": partial(kornia.RandomGrayscale(p=0.5), x),
    }
    rows = []
    for name, way in ways.items():
        ours, theirs = [], []
        for _ in range(2 * PAIRS + 2):
            ours.append(1e3 * statistics.mean(seconds(way) for _ in range(5)))
            theirs.append(1e3 * seconds(step))
        other = "training step of cifar100_cnn.yaml"
        rows.append(compare(f"{name} of a batch of 128 (at most 10 % of the time)", other, "ms", ours, theirs, bar=10))
    return rows


def _pictures(root: str) -> Comparison:
    """All plots of mnist_cnn.yaml against the whole run of five epochs that they belong to."""
    spent = [0.0]
    hooks = ("on_fit_start", "on_train_epoch_end", "on_fit_end", "on_test_batch_end", "on_test_end")
    kinds = {Plot, *_below(Plot)}
    kept = {(kind, hook): kind.__dict__[hook] for kind in kinds for hook in hooks if hook in kind.__dict__}

    def timed(method: Callable) -> Callable:
        def hook(*arguments: Any) -> None:
            start = time.perf_counter()
            method(*arguments)
            spent[0] += time.perf_counter() - start

        return hook

    ours, theirs = [], []
    for (kind, name), method in kept.items():
        setattr(kind, name, timed(method))
    try:
        for _ in range(2):  # the first is dropped; a share within one run needs no more
            spent[0] = 0.0
            with tempfile.TemporaryDirectory() as folder:
                words = ["fit", f"--config={CONFIGS / 'mnist_cnn'}.yaml", f"--data.root={root}"]
                words += [f"--trainer.default_root_dir={folder}", "--trainer.accelerator=cpu"]
                theirs.append(seconds(lambda: main(words)))
            ours.append(spent[0])
    finally:
        for (kind, name), method in kept.items():
            setattr(kind, name, method)
    name = "plots of mnist_cnn.yaml (at most 10 % of the time)"
    return compare(name, "the whole run of five epochs", "s", ours, theirs, bar=10)


def _below(kind: type) -> list[type]:
    children: list[type] = kind.__subclasses__()
    return [each for child in children for each in (child, *_below(child))]


def _features(root: str) -> Comparison:
    """An epoch of cifar10_small_finetune.yaml with what the frozen layers give kept, and computed each time."""
    options = (f"--data.folder={root}/cifar10_small", f"--model.network_ckpt={root}/cifar100_resnet56.pth")
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(PAIRS + 1):
        for keeps in times:
            cli = _build("cifar10_small_finetune", *options)
            if not keeps:
                cli.datamodule.precompute = lambda *_: False
            clock = EpochClock()
            train_epoch(cli.model, cli.datamodule, clock)
            times[keeps].append(clock.seconds)
    name = "epoch of cifar10_small_finetune.yaml, frozen features cached"
    return compare(name, "computed each time", "s", times[True], times[False], bar=1)
