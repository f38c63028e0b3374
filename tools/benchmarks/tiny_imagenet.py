"""Tiny ImageNet: its loader against ImageFolder, its array against decoding in one process, its memory."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torchvision import datasets, transforms

from datamodules import BatchRandomCrop, BatchRandomFlip, TinyImageNetDataModule
from datamodules.decoding import decode_to_file
from tools.benchmarks.data_path import BATCH_SIZE, drain, rates
from tools.benchmarks.measure import REPEATS, Comparison, compare, seconds

FILES = 20_000  # at most, of an array that is built
CLASSES, TRAIN_PER_CLASS, TEST_PER_CLASS = 200, 500, 50  # of the folder that memory is measured with
MEMORY_GB = 1.5  # asked for


def run(root: str) -> list[Comparison]:
    """Measure batches with crop and flip, the building of the array, and the memory that an epoch of all classes needs.

    The first two with the folder in `root`, the memory with one of full size that is made up.
    """
    torch.set_num_threads(2)  # as many as the other way has workers
    data = _with_crop_and_flip(root)
    files = sorted((data.folder / "train").glob("*/images/*.JPEG"))[:FILES]
    return [_loader(data), _building(files), _memory()]


def _with_crop_and_flip(root: str) -> TinyImageNetDataModule:
    return TinyImageNetDataModule(root=root, batch_size=BATCH_SIZE, augment=[BatchRandomCrop(4), BatchRandomFlip()])


def _loader(data: TinyImageNetDataModule) -> Comparison:
    per_image = [
        transforms.RandomCrop(64, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(data.mean, data.std),
    ]
    dataset = datasets.ImageFolder(str(data.folder / "train"), transforms.Compose(per_image))
    ours, theirs = ([rate / BATCH_SIZE for rate in each] for each in rates(data, dataset))
    return compare(
        "Tiny ImageNet loader with crop and flip, batch 128",
        "ImageFolder, the same transforms per image, 2 workers",
        "batches/s",
        ours,
        theirs,
        bar=10,
        more_is_better=True,
    )


def _building(files: Sequence[Path]) -> Comparison:
    ours, theirs = [], []
    for _ in range(REPEATS + 1):
        with TemporaryDirectory() as folder:
            ours.append(seconds(lambda: decode_to_file(files, Path(folder) / "ours", shape=(3, 64, 64))))
            theirs.append(seconds(lambda: decode_in_one_process(files, Path(folder) / "theirs.npy", 64)))
    name = f"array of {len(files):,} images of Tiny ImageNet, {os.cpu_count()} cores"
    return compare(name, "Pillow and NumPy in one process", "s", ours, theirs, bar=1.5)


def decode_in_one_process(files: Sequence[Path], path: Path, side: int) -> None:
    """Decode files of square images into an array file, as one would without more ado."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (len(files), 3, side, side))
    for index, file in enumerate(files):
        with Image.open(file) as image:
            array[index] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _memory() -> Comparison:
    with TemporaryDirectory() as root:
        _make_folder(Path(root) / "tiny-imagenet-200")
        command = [sys.executable, "-m", "tools.benchmarks.tiny_imagenet", root]
        said = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    peak = int(said.stdout.split()[-1]) / 1e9
    name = f"resident memory of an epoch of {CLASSES * TRAIN_PER_CLASS:,} images of Tiny ImageNet, with decoding"
    return Comparison(name, "fixed limit", "GB", peak, MEMORY_GB, MEMORY_GB / peak, 1, 1)


def _make_folder(folder: Path) -> None:
    """Write one image of noise for each class, which all others are links to."""
    random = np.random.default_rng(0)
    wnids = [f"n{label:08}" for label in range(CLASSES)]
    (folder / "val" / "images").mkdir(parents=True)
    annotations: list[str] = []
    for wnid in wnids:
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        first = images / f"{wnid}_0.JPEG"
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(first)
        for index in range(1, TRAIN_PER_CLASS):
            os.link(first, images / f"{wnid}_{index}.JPEG")
        for _ in range(TEST_PER_CLASS):
            name = f"val_{len(annotations)}.JPEG"
            os.link(first, folder / "val" / "images" / name)
            annotations.append(f"{name}\t{wnid}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(annotations))
    (folder / "wnids.txt").write_text("\n".join(wnids))
    (folder / "words.txt").write_text("".join(f"{wnid}\tnoise\n" for wnid in wnids))


def _fetch_an_epoch(root: str) -> None:
    """Decode, fetch the training and the test split, and say how many bytes were resident at the most."""
    data = _with_crop_and_flip(root)
    data.prepare_data()
    loader = data.train_dataloader()
    data.trainer = SimpleNamespace(training=True, lightning_module=SimpleNamespace(dtype=torch.float32))  # type: ignore[assignment]
    drain(loader, data)
    drain(data.test_dataloader(), data)
    # Not `getrusage`, which begins with the peak of the process that has started this one.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(int(peak.split()[1]) * 1024)


if __name__ == "__main__":
    _fetch_an_epoch(sys.argv[1])
