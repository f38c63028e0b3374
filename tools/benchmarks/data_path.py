"""Images per second of the training loader, against the usual path: PIL image, per-image transforms, two workers."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

from datamodules import BatchRandomCrop, BatchRandomFlip, CIFAR100DataModule, ImageDataModule, MNISTDataModule
from tools.benchmarks.measure import REPEATS, Comparison, compare, seconds

BATCH_SIZE = 128
THEIR_IMAGES = 100 * BATCH_SIZE  # a fraction of the set is enough for the slow way


def drain(batches: Iterable[Any], data: ImageDataModule | None = None) -> int:
    """Fetch all batches, through the datamodule's augmentation if one is given; the number of images."""
    count = 0
    for batch in batches:
        x, _ = data.on_after_batch_transfer(batch, 0) if data else batch
        count += len(x)
    return count


def rates(data: ImageDataModule, dataset: Dataset) -> tuple[list[float], list[float]]:
    """Measure images per second of a datamodule and of a dataset in a loader with two workers, in turn."""
    data.prepare_data()
    loader = data.train_dataloader()
    task = SimpleNamespace(dtype=torch.float32)
    data.trainer = SimpleNamespace(training=True, lightning_module=task)  # type: ignore[assignment]
    their_loader = DataLoader(
        Subset(dataset, range(THEIR_IMAGES)), BATCH_SIZE, shuffle=True, num_workers=2, persistent_workers=True
    )
    ours, theirs = [], []
    num_ours = drain(loader, data)
    for _ in range(REPEATS + 1):
        ours.append(num_ours / seconds(lambda: drain(loader, data)))
        theirs.append(THEIR_IMAGES / seconds(lambda: drain(their_loader)))
    return ours, theirs


def run(root: str) -> list[Comparison]:
    """Measure MNIST without augmentation and CIFAR-100 with crop and flip, the latter also against kornia."""
    torch.set_num_threads(2)  # as many as the other way has workers
    normalise = [transforms.ToTensor(), transforms.Normalize(MNISTDataModule.mean, MNISTDataModule.std)]
    mnist = datasets.MNIST(root, transform=transforms.Compose(normalise))
    rows = [
        compare(
            "MNIST loader, batch 128",
            "torchvision + PIL + ToTensor + Normalize, 2 workers",
            "images/s",
            *rates(MNISTDataModule(root=root, batch_size=BATCH_SIZE), mnist),
            bar=40,
            more_is_better=True,
        )
    ]
    augment = [BatchRandomCrop(4), BatchRandomFlip()]
    per_image = [
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(CIFAR100DataModule.mean, CIFAR100DataModule.std),
    ]
    cifar = datasets.CIFAR100(root, transform=transforms.Compose(per_image))
    rows.append(
        compare(
            "CIFAR-100 loader with crop and flip, batch 128",
            "the same transforms per image, 2 workers",
            "images/s",
            *rates(CIFAR100DataModule(root=root, batch_size=BATCH_SIZE, augment=augment), cifar),
            bar=4,
            more_is_better=True,
        )
    )
    rows.append(_against_kornia())
    return rows


def _against_kornia() -> Comparison:
    from kornia import augmentation

    x = torch.rand(BATCH_SIZE, 3, 32, 32)
    crop, flip = BatchRandomCrop(4), BatchRandomFlip()
    their_crop = augmentation.RandomCrop((32, 32), padding=4, cropping_mode="slice")
    their_flip = augmentation.RandomHorizontalFlip()
    ours, theirs = [], []
    for _ in range(REPEATS + 1):
        ours.append(1e3 * seconds(lambda: [flip(crop(x)) for _ in range(50)]) / 50)
        theirs.append(1e3 * seconds(lambda: [their_flip(their_crop(x)) for _ in range(50)]) / 50)
    return compare(
        "crop and flip of a batch of 128", "kornia's RandomCrop and RandomHorizontalFlip", "ms", ours, theirs, 1
    )
