"""What any data need: a lock on the download, one seed, loaders that make a run repeat itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from filelock import FileLock
from pytorch_lightning.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from datamodules.tensors import BalancedSampler, StepDataset
from datamodules.verified import require_official
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.seed import run_seed

MOST = 2**31 - 1
BATCH_SIZE = 128


class BaseDataModule(pl.LightningDataModule):
    """Data for a task: a training, a validation and a test split.

    A subclass says in `data_spec` what a task must know of the data, fetches them in `download` and sets `train_set`,
    `val_set` and `test_set` in `make_splits`. The validation split is always taken from the training split. Nothing is
    learnt from the test split or chosen by it.

    Args:
        root: Folder of the data sets; downloads go there.
        batch_size: Training batch on each device.
        eval_batch_size: Batch for validation, test and prediction on each device.
        balanced_sampling: Draw training samples so that every class is equally likely; the set must have `labels`.
        steps_per_epoch: Train without data: an epoch is this many step numbers instead of batches.
        num_workers: Worker processes of the training loader. 0 is the fastest for data in memory.

    Attributes:
        dataset_name: Name of the set.

    Raises:
        ValueError: If an option is out of range.
    """

    dataset_name: ClassVar[str]

    def __init__(
        self,
        root: str = "data",
        batch_size: int = BATCH_SIZE,
        eval_batch_size: int = 1000,
        balanced_sampling: bool = False,
        steps_per_epoch: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for option, value in (
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
            ("steps_per_epoch", steps_per_epoch),
        ):
            if value is not None and not 1 <= value <= MOST:
                raise ValueError(f"{option} must be at least 1 and at most {MOST:,}, got {value}")
        if num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {num_workers}")
        if steps_per_epoch is not None and balanced_sampling:
            raise ValueError("balanced_sampling: with steps_per_epoch no training sample is drawn")
        self.root = user_path(root)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.balanced_sampling = balanced_sampling
        self.steps_per_epoch = steps_per_epoch
        self.num_workers = num_workers
        self.seed = run_seed()
        self.train_set: Dataset | None = None
        self.val_set: Dataset | None = None
        self.test_set: Dataset | None = None

    @property
    def data_spec(self) -> Any:
        """What a task must know of the data, as plain data; known before anything is read."""
        raise NotImplementedError

    def order_classes(self, names: Sequence[str]) -> None:
        """Number the classes anew, as if the set had always had this order; a task compares `data_spec` afterwards.

        Args:
            names: Names of the classes; names that the set does not have change nothing.
        """

    def download(self) -> None:
        """Fetch what `make_splits` reads, unless it is there."""
        raise NotImplementedError

    def checksums(self) -> Mapping[Path, str]:
        """Give the MD5 of each official file, in hexadecimal digits; without any nothing is verified."""
        return {}

    def make_splits(self) -> None:
        """Read the data and set the three splits; `train_set` stays None where training needs no data."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Have the data on disk, and refuse a split that cannot be made, before a run starts.

        Raises:
            OSError: If they are neither there nor to be had.
            ValueError: If a file is not the official one, or the options ask for more samples than there are.
        """
        self.fetch()
        self._make_splits_once()

    def fetch(self) -> None:
        """Have the data on disk, verified, one process at a time.

        Raises:
            OSError: If they are neither there nor to be had.
            ValueError: If a file is not the official one.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"data.root: {self.root} is no folder and cannot be made one ({error.strerror})") from None
        with FileLock(self.root / f".{self.dataset_name}.lock"):
            try:
                self.download()
            except Exception as error:  # urllib, pickle, zlib and assertion errors all mean the same to the user
                raise OSError(
                    f"{self.dataset_name}: no usable data in {self.root.resolve()} and the download failed"
                    f" ({type(error).__name__}: {error}). Remove damaged files, put the official files there or point"
                    " data.root at them; configs/*_digits.yaml run without any download"
                ) from error
            require_official(self.root, self.checksums())

    def setup(self, stage: str) -> None:
        """Split the data, equally for all stages, and choose the seed of the training order."""
        if stage == "fit" and self.trainer is not None:
            self.seed = self.trainer.strategy.broadcast(run_seed())
        self._make_splits_once()

    def _make_splits_once(self) -> None:
        if self.test_set is None:
            self.make_splits()

    def state_dict(self) -> dict[str, Any]:
        """Give the seed to a checkpoint."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the seed up again."""
        self.seed = state_dict["seed"]

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches, or bare step numbers where training needs no data.

        Warns if there are fewer training samples than a batch has, and of options without effect.
        """
        if self.steps_per_epoch is not None:
            self._warn_of_unused()
            return DataLoader(StepDataset(self.steps_per_epoch), batch_size=None, generator=torch.Generator())
        num_replicas, rank = (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
        assert self.train_set is not None, "setup comes before the loaders"
        sampler = self.train_sampler(num_replicas, rank)
        task = None if self.trainer is None else self.trainer.lightning_module
        if task is not None:  # when a run resumes, Lightning does so only after the workers have begun
            sampler.set_epoch(getattr(task, "data_epoch", task.current_epoch))
        count = len(sampler)
        if count < self.batch_size:
            rank_zero_warn(f"data.batch_size is {self.batch_size}: a step takes all {count} training samples")
        # BatchNorm cannot train on one sample, so a last batch of one is left out; each epoch it is another one.
        alone = count > 1 and count % self.batch_size == 1
        return self._loader(self.train_set, self.batch_size, sampler, num_workers=self.num_workers, drop_last=alone)

    def _warn_of_unused(self) -> None:
        for option, usual, instead in (
            ("batch_size", BATCH_SIZE, "; model.batch_size is the number of synthetic images in a step"),
            ("num_workers", 0, ""),
            ("train_per_class", None, ""),  # of those that have it
        ):
            if (value := getattr(self, option, usual)) != usual:
                rank_zero_warn(
                    f"data.{option} {value} has no effect: with steps_per_epoch no training sample is read{instead}"
                )

    def train_sampler(self, num_replicas: int, rank: int) -> DistributedSampler:
        """Draw the training samples of a rank, shuffled; from the seed and the epoch only.

        On one device too, since that makes a resumed run repeat itself.
        """
        assert self.train_set is not None
        sampler_class: type[DistributedSampler] = BalancedSampler if self.balanced_sampling else DistributedSampler
        return sampler_class(self.train_set, num_replicas=num_replicas, rank=rank, seed=self.seed)

    def val_dataloader(self) -> DataLoader:
        """The validation split, in order."""
        return self._evaluation_loader(self.val_set)

    def test_dataloader(self) -> DataLoader:
        """The test split, in order."""
        return self._evaluation_loader(self.test_set)

    def predict_dataloader(self) -> DataLoader:
        """The test split, in order."""
        return self.test_dataloader()

    def _evaluation_loader(self, data: Dataset | None, num_workers: int = 0) -> DataLoader:
        assert data is not None, "setup comes before the loaders"
        # Every device evaluates all samples. A sampler of Lightning's would repeat some to give each as many, and it
        # leaves this one alone.
        sampler: DistributedSampler = DistributedSampler(data, num_replicas=1, rank=0, shuffle=False)
        return self._loader(data, self.eval_batch_size, sampler, num_workers=num_workers)

    def _loader(self, data: Dataset, batch_size: int, sampler: DistributedSampler, **options: Any) -> DataLoader:
        # Of the run, which may have been sent to the CPU of a machine with a GPU.
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=sampler,
            **options,
            collate_fn=_identity,  # a batch comes whole from __getitems__
            # Without one it draws from the global generator whenever it starts, and a resumed run would differ.
            generator=torch.Generator(),
            pin_memory=on_gpu,
            persistent_workers=options.get("num_workers", 0) > 0,
        )


def _identity(batch: Any) -> Any:
    return batch
