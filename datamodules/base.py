"""What all image datamodules share: stages, splits, loaders, normalisation."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from datamodules.splits import RATIOS, per_class_subset, stratified_split
from datamodules.tensors import BalancedSampler, Batch, StepDataset, TensorImages

Split = Literal["official", "70:30", "80:20", "90:10"]


class ImageDataModule(pl.LightningDataModule):
    """A labelled image set, held in memory as uint8 and served in whole batches.

    Batches reach the task as (x, y): x float32 (B, C, H, W), normalised by `mean` and `std`, y int64 (B,).
    Augmentation and normalisation run on the device, after the transfer of the small uint8 batch.

    The validation part is always taken from the training part. Nothing is learnt from the test part or chosen by it.

    Args:
        root: Folder of the data sets; downloads go there.
        batch_size: Training batch on each device.
        eval_batch_size: Batch for validation, test and prediction on each device.
        split: The official split into training and test, or a stratified one of all samples.
        val_fraction: Share of the training part that is set aside for validation, stratified, in (0, 1).
        split_seed: Seed of all splits and subsets; it is apart from `seed_everything`, so that runs with other seeds
            are compared on the same samples.
        train_per_class: Train on this many samples of each class only.
        test_per_class: Test on this many samples of each class only.
        balanced_sampling: Draw training samples so that every class is equally likely.
        normalise: Subtract the set's mean and divide by its standard deviation; else images stay in [0, 1].
        augment: Transforms of training batches, applied in order to float images (B, C, H, W) in [0, 1]; those of
            `datamodules.augment`, or any from kornia.augmentation.
        steps_per_epoch: Train without data: an epoch is this many step numbers instead of batches, and the training
            images are not kept.
        num_workers: Worker processes of the training loader. 0 is the fastest for images in memory.

    Raises:
        ValueError: If an option is out of range, or a class has too few samples for what is asked.
    """

    dataset_name: ClassVar[str]
    num_classes: ClassVar[int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        eval_batch_size: int = 1000,
        split: Split = "official",
        val_fraction: float = 0.1,
        split_seed: int = 0,
        train_per_class: int | None = None,
        test_per_class: int | None = None,
        balanced_sampling: bool = False,
        normalise: bool = True,
        augment: Sequence[Callable] | None = None,
        steps_per_epoch: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for option, value in (
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
            ("steps_per_epoch", steps_per_epoch),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        self.root = Path(root)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.split = split
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.balanced_sampling = balanced_sampling
        if not normalise:
            self.mean, self.std = (0.0,) * len(self.mean), (1.0,) * len(self.std)
        self.augment = tuple(augment or ())
        self.steps_per_epoch = steps_per_epoch
        self.num_workers = num_workers
        self.train_set: TensorImages | None = None
        self.val_set: TensorImages | None = None
        self.test_set: TensorImages | None = None
        self.class_names = [str(label) for label in range(self.num_classes)]

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Read the official training and test parts from disk; None where the set has no official test part."""
        raise NotImplementedError

    def download(self) -> None:
        """Fetch and verify what `load` reads."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Have the data on disk, one process at a time, and refuse a split that cannot be made, before a run starts.

        Raises:
            OSError: If they are neither there nor to be had, or the files are damaged.
            ValueError: If the options ask for more samples than there are.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f".{self.dataset_name}.lock"):
            try:
                self.download()
            except Exception as error:  # urllib, pickle, zlib and assertion errors all mean the same to the user
                raise OSError(
                    f"{self.dataset_name}: no usable data in {self.root.resolve()} and the download failed"
                    f" ({type(error).__name__}: {error}). Remove damaged files, put the official files there or point"
                    " data.root at them; configs/*_digits.yaml run without any download"
                ) from error
        self.setup("fit")

    def setup(self, stage: str) -> None:
        """Split the data, equally for all stages: test part, then validation part, then per-class subsets."""
        if self.test_set is not None:
            return
        train, test = self.load()
        if self.split == "official":
            if test is None:
                raise ValueError(
                    f"{self.dataset_name} has no official split; data.split must be one of {sorted(RATIOS)}"
                )
        else:
            if test is not None:
                train = TensorImages(torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels]))
            kept, held_out = stratified_split(train.labels, RATIOS[self.split], self.split_seed, "data.split")
            train, test = train.subset(kept), train.subset(held_out)
        kept, held_out = stratified_split(train.labels, 1 - self.val_fraction, self.split_seed, "data.val_fraction")
        train, self.val_set = train.subset(kept), train.subset(held_out)
        if self.train_per_class is not None:
            chosen = per_class_subset(train.labels, self.train_per_class, self.split_seed, "data.train_per_class")
            train = train.subset(chosen)
        if self.test_per_class is not None:
            chosen = per_class_subset(test.labels, self.test_per_class, self.split_seed, "data.test_per_class")
            test = test.subset(chosen)
        self.train_set = train if self.steps_per_epoch is None else None
        self.test_set = test

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches, or bare step numbers where training needs no data."""
        if self.steps_per_epoch is not None:
            return DataLoader(StepDataset(self.steps_per_epoch), batch_size=None, generator=torch.Generator())
        assert self.train_set is not None, "setup comes before the loaders"
        num_replicas, rank = (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
        # On one device too: these samplers depend on (seed, epoch) only, which makes a resumed run repeat itself.
        sampler_class = BalancedSampler if self.balanced_sampling else DistributedSampler
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        sampler: DistributedSampler = sampler_class(self.train_set, num_replicas=num_replicas, rank=rank, seed=seed)
        return self._loader(self.train_set, self.batch_size, sampler=sampler, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader:
        """The validation part, in order."""
        return self._loader(self.val_set, self.eval_batch_size)

    def test_dataloader(self) -> DataLoader:
        """The test part, in order."""
        return self._loader(self.test_set, self.eval_batch_size)

    def test_samples(self, count: int) -> Batch:
        """Give the first test samples, or all if there are fewer, as the batch (x, y) a task sees; for pictures."""
        assert self.test_set is not None, "setup comes before the samples"
        images, labels = self.test_set.images[:count], self.test_set.labels[:count]
        return self.normalise(images.float() / 255), labels

    def predict_dataloader(self) -> DataLoader:
        """The test part, in order."""
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn uint8 images into normalised floats; augment them in training."""
        if not isinstance(batch, (list, tuple)):  # a bare step number
            return batch
        x, y = batch
        x = x.float().div_(255)
        if self.trainer is not None and self.trainer.training:
            for transform in self.augment:
                x = transform(x)
        return self.normalise(x), y

    def normalise(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) in [0, 1] by the set's mean and standard deviation per channel."""
        mean = x.new_tensor(self.mean).view(-1, 1, 1)
        std = x.new_tensor(self.std).view(-1, 1, 1)
        return (x - mean) / std

    @staticmethod
    def _loader(data: TensorImages | None, batch_size: int, **options: Any) -> DataLoader:
        assert data is not None, "setup comes before the loaders"
        # collate_fn: a batch comes whole from __getitems__.
        return DataLoader(
            data,
            batch_size=batch_size,
            collate_fn=_identity,
            # Without one it draws from the global generator whenever it starts, and a resumed run would differ.
            generator=torch.Generator(),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=options.get("num_workers", 0) > 0,
            **options,
        )


def _identity(batch: Any) -> Any:
    return batch
