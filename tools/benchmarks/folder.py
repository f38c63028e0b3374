"""Image files of the user: a folder that is opened again, its decoding, and answers to files."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytorch_lightning as pl
import torch

from datamodules import ImageFolderDataModule
from datamodules.decoding import decode_to_file
from datamodules.image_files import ImageFiles, workers_for
from lightning_tasks import ClassificationTask, ResNet
from lightning_tasks.callbacks import PredictionWriter
from tools.benchmarks.measure import REPEATS, Comparison, compare, seconds
from tools.benchmarks.tiny_imagenet import decode_in_one_process

START_SECONDS = 3.0  # asked for


def run(root: str) -> list[Comparison]:
    """Measure all three with the PNG files of CIFAR-10 in `<root>/cifar10_small`."""
    torch.set_num_threads(2)
    folder = Path(root) / "cifar10_small"
    files = sorted(folder.glob("*/*/*.png"))
    return [_start(folder, len(files)), _decoding(files), _predicting(folder, files)]


def _start(folder: Path, count: int) -> Comparison:
    ImageFolderDataModule(str(folder)).prepare_data()
    taken = sorted(seconds(ImageFolderDataModule(str(folder)).prepare_data) for _ in range(REPEATS))
    opened = sorted(seconds(lambda: ImageFolderDataModule(str(folder))) for _ in range(REPEATS))
    ours = taken[REPEATS // 2] + opened[REPEATS // 2]
    name = f"reopening a folder of {count:,} PNG files"
    return Comparison(name, "fixed limit", "s", ours, START_SECONDS, START_SECONDS / ours, 1, REPEATS)


def _decoding(files: Sequence[Path]) -> Comparison:
    ours, theirs = [], []
    for _ in range(REPEATS + 1):
        with TemporaryDirectory() as folder:
            ours.append(seconds(lambda: decode_to_file(files, Path(folder) / "ours")))
            theirs.append(seconds(lambda: decode_in_one_process(files, Path(folder) / "theirs.npy", 32)))
    name = f"decoding {len(files):,} PNG files, {os.cpu_count()} cores"
    return compare(name, "Pillow and NumPy in one process", "s", ours, theirs, bar=1.6)


def _predicting(folder: Path, files: Sequence[Path]) -> Comparison:
    data = ImageFolderDataModule(str(folder), predict=[str(folder)])
    data.prepare_data()
    task = ClassificationTask(data.data_spec, lambda classes, shape: ResNet(classes, shape, depth=20, width=16))
    x = torch.zeros(data.eval_batch_size, *data.image_shape)
    ours, theirs = [], []
    for _ in range(REPEATS + 1):
        with TemporaryDirectory() as place:
            trainer = pl.Trainer(
                accelerator="cpu",
                devices=1,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=place,
                callbacks=[PredictionWriter()],
            )
            ours.append(seconds(lambda trainer=trainer: trainer.predict(task, data)))  # type: ignore[misc]
        theirs.append(seconds(lambda: _decode(files, data)) + seconds(lambda: _answer(task, x, len(files))))
    name = f"predict {len(files):,} PNG files, with table and contact sheet"
    return compare(name, "decoding them, then the network alone", "s", ours, theirs, bar=1 / 1.3)


def _decode(files: Sequence[Path], data: ImageFolderDataModule) -> None:
    loader = data._evaluation_loader(ImageFiles(files, data.image_shape), workers_for(files))
    for _ in loader:
        pass


@torch.no_grad()
def _answer(task: ClassificationTask, x: torch.Tensor, count: int) -> None:
    task.eval()
    for _ in range(count // len(x)):
        task(x)
