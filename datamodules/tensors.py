"""Datasets held in one tensor, and what feeds them to a training loop."""

import copy
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, DistributedSampler, IterableDataset

Batch = tuple[Tensor, Tensor]


class TensorImages(Dataset[Batch]):
    """Images and labels in memory, fetched a whole batch at a time.

    PyTorch's loader asks a dataset that has `__getitems__` for all indices of a batch at once; one tensor indexing
    then replaces a Python call, a PIL image and a collation per sample.

    Args:
        images: Shape (N, C, H, W), uint8; or what a network makes of images, shape (N, ...), float32.
        labels: Shape (N,), int64.
        indices: The samples of these that the set consists of, in order; all if not given. Shape (M,), int64.
    """

    def __init__(self, images: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images, but {len(labels)} labels")
        self._images = images
        self._labels = labels
        self.indices = torch.arange(len(labels)) if indices is None else indices
        self._side: int | None = None

    @property
    def images(self) -> Tensor:
        """All images of the set, copied. Shape (M, C, H, W), uint8."""
        return self._sized(self._images[self.indices])

    @property
    def labels(self) -> Tensor:
        """All labels of the set. Shape (M,), int64."""
        return self._labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Batch:
        place = self.indices[index]
        return self._sized(self._images[place][None])[0], self._labels[place]

    def __getitems__(self, indices: list[int]) -> Batch:
        """Fetch a batch: images (B, C, H, W) uint8 and labels (B,)."""
        index = self.indices[torch.tensor(indices)]
        return self._sized(self._images[index]), self._labels[index]

    def _sized(self, images: Tensor) -> Tensor:
        if self._side is None:
            return images
        return F.interpolate(images, (self._side, self._side), mode="bilinear", antialias=True)

    def resized(self, side: int) -> Self:
        """Resize the images while they are fetched, bilinear and without aliasing; the whole would be large.

        Args:
            side: Height and width that they get.
        """
        other = copy.copy(self)
        other._side = side
        return other

    def relabelled(self, numbers: Tensor) -> Self:
        """Number the classes anew; the images stay where they are.

        Args:
            numbers: The new number of each class, by the old one. Shape (num_classes,), int64.
        """
        other = copy.copy(self)
        other._labels = numbers[self._labels]
        return other

    def subset(self, indices: Tensor) -> Self:
        """Choose samples; the images stay where they are."""
        other = copy.copy(self)
        other.indices = self.indices[indices]
        return other

    def copy(self) -> "TensorImages":
        """Copy the samples of the set, so that the images it was chosen from need not be kept."""
        return TensorImages(self.images, self.labels)


class BalancedSampler(DistributedSampler[int]):
    """Draws with replacement so that every class is equally likely, shared out over the ranks.

    Like its base it depends on (seed, epoch) only, so a resumed run draws what an uninterrupted one would have drawn.

    Args:
        dataset: Dataset to sample from.
        num_replicas: Number of ranks.
        rank: This rank.
        seed: Equal on all ranks.
    """

    def __init__(self, dataset: TensorImages, num_replicas: int, rank: int, seed: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        labels = dataset.labels
        self.weights = 1 / torch.bincount(labels).double()[labels]

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        drawn = torch.multinomial(self.weights, self.total_size, replacement=True, generator=generator)
        return iter(drawn[self.rank :: self.num_replicas].tolist())


class StepDataset(IterableDataset[int]):
    """The numbers 0 ... num_steps - 1, for training that needs no data.

    Iterable on purpose: a map-style dataset would be shared out over the GPUs, and an epoch would shrink with their
    number.
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.num_steps))
