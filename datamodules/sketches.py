"""Drawings in flat tensors, and what feeds them to a training loop."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from datamodules.tensors import BalancedSampler
from lightning_tasks.drawings.batch import SketchBatch
from lightning_tasks.drawings.collection import Collection
from lightning_tasks.drawings.steps import Pen

WINDOW = 50  # batches that are sorted by length together


class SketchSet(Dataset[SketchBatch]):
    """Drawings in memory, fetched a whole batch at a time by index arithmetic.

    Args:
        drawings: A collection that may be shared with other sets.
        labels: Index of the word of each of its drawings. Shape (M,), int64.
        indices: Drawings that the set consists of, in order. Shape (N,), int64.
        max_length: Steps of a batch, END included; longer drawings are cut.
        random_scale: x and y of a drawing are each multiplied by a number of 1 - random_scale ... 1 + random_scale.
        point_drop: Probability that a point within a stroke is left out.

    Attributes:
        offset_std: Divisor of the offsets of batches, in drawing units.
        words: Index of the word of each drawing. Shape (N,), int64.
        lengths: Steps that each drawing has in a batch without augmentation, END included. Shape (N,), int64.
    """

    def __init__(
        self,
        drawings: Collection,
        labels: np.ndarray,
        indices: np.ndarray,
        max_length: int,
        random_scale: float = 0.0,
        point_drop: float = 0.0,
    ) -> None:
        self._steps = torch.from_numpy(drawings.steps)
        self._starts = torch.from_numpy(drawings.starts[:-1][indices])
        self._counts = torch.from_numpy(drawings.counts[indices])
        self.words = torch.from_numpy(labels[indices])
        self.lengths = (self._counts + 1).clamp(max=max_length)
        self.max_length = max_length
        self.random_scale = random_scale
        self.point_drop = point_drop
        self.offset_std = 1.0

    @property
    def labels(self) -> Tensor:
        """The same as `words`, for samplers. Shape (N,), int64."""
        return self.words

    def __len__(self) -> int:
        return len(self.words)

    def steps(self, index: int) -> np.ndarray:
        """Give a drawing as drawings.to_steps does: in drawing units, uncut, never augmented. Shape (n, 3), float32."""
        start = int(self._starts[index])
        return self._steps[start : start + int(self._counts[index])].numpy()

    def __getitem__(self, index: int) -> SketchBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> SketchBatch:
        """Fetch a batch; the steps, augmented if the set is, padded to the longest drawing."""
        chosen = torch.tensor(indices)
        steps, starts, counts, words = self._steps, self._starts[chosen], self._counts[chosen], self.words[chosen]
        if self.point_drop:
            steps, starts, counts = drop_points(*_gather(steps, starts, counts), self.point_drop)
        batch = _pad(steps, starts, counts, words, self.max_length)
        offsets = batch.offsets / self.offset_std
        if self.random_scale:
            offsets *= 1 + self.random_scale * (2 * torch.rand(len(indices), 1, 2) - 1)
        return batch._replace(offsets=offsets)

    def offsets(self) -> Tensor:
        """Give the offsets of all drawings, in drawing units, uncut. Shape (total, 2)."""
        return _gather(self._steps, self._starts, self._counts)[0][:, :2]


def _gather(steps: Tensor, starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Copy runs of rows so that they lie end to end; returns them with their starts and counts."""
    new_starts = counts.cumsum(0) - counts
    rows = torch.repeat_interleave(starts - new_starts, counts) + torch.arange(int(counts.sum()))
    return steps[rows], new_starts, counts


def _pad(steps: Tensor, starts: Tensor, counts: Tensor, words: Tensor, max_length: int) -> SketchBatch:
    lengths = (counts + 1).clamp(max=max_length)
    column = torch.arange(int(lengths.max()))
    drawn = column < counts[:, None]
    rows = (starts[:, None] + column).clamp(max=len(steps) - 1)
    padded = torch.where(drawn[..., None], steps[rows], steps.new_tensor([0.0, 0.0, Pen.END]))
    return SketchBatch.of(padded[..., :2], padded[..., 2].long(), lengths, words)


def drop_points(steps: Tensor, starts: Tensor, counts: Tensor, probability: float) -> tuple[Tensor, Tensor, Tensor]:
    """Leave out points within strokes at random; the line goes on straight to the next point.

    The first two points of a stroke and its last are kept, much as in `augment_strokes` of
    https://github.com/magenta/magenta/blob/main/magenta/models/sketch_rnn/utils.py, so a stroke stays one.

    Args:
        steps: Drawings end to end. Shape (total, 3).
        starts: Start of each drawing. Shape (B,), int64.
        counts: Number of steps of each. Shape (B,), int64.
        probability: Probability of each other point; the random numbers are those of PyTorch's global generator.

    Returns:
        The same of the drawings with fewer points.
    """
    down = steps[:, 2] == Pen.DOWN
    # The last step leads to the point that may go: a stroke starts where a step through the air, or a drawing, does.
    begins = torch.cat([down.new_zeros(1), ~down[:-1]])
    begins[starts] = False  # the first point of a drawing has no step
    second = torch.cat([down.new_zeros(1), begins[:-1]])
    second[starts] = True
    kept = ~down | begins | second | (torch.rand(len(steps)) >= probability)
    target = kept.cumsum(0) - kept.long()
    fewer = steps[kept]
    fewer[:, :2] = torch.zeros_like(fewer[:, :2]).index_add_(0, target, steps[:, :2])
    before = torch.cat([kept.new_zeros(1).long(), kept.cumsum(0)])
    new_starts = before[starts]
    return fewer, new_starts, before[starts + counts] - new_starts


class BucketSampler(DistributedSampler[int]):
    """Draws every sample once an epoch, in batches of similar length.

    Samples are shuffled, sorted by length within windows of some batches, and the batches shuffled; a last smaller
    batch stays last. All ranks' batches of a step are parts of the same sorted run. Like its base it depends on (seed,
    epoch) only.

    Args:
        dataset: Dataset to sample from.
        batch_size: On each rank.
        num_replicas: Number of ranks.
        rank: This rank.
        seed: Equal on all ranks.
        balanced: Draw with replacement, every word equally likely.
    """

    def __init__(
        self, dataset: SketchSet, batch_size: int, num_replicas: int, rank: int, seed: int, balanced: bool = False
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, seed=seed)
        self.lengths = dataset.lengths
        self.batch_size = batch_size
        shuffle = BalancedSampler if balanced else DistributedSampler
        self._shuffle: DistributedSampler = shuffle(dataset, num_replicas=1, rank=0, seed=seed)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        self._shuffle.set_epoch(self.epoch)
        order = torch.tensor(list(self._shuffle))
        order = order[torch.arange(self.total_size) % len(order)]  # as many for each rank
        step = self.batch_size * self.num_replicas
        whole, last = order[: len(order) // step * step], order[len(order) // step * step :]
        windows = [window[self.lengths[window].argsort(stable=True)] for window in whole.split(WINDOW * step)]
        batches = torch.cat(windows).view(-1, step)
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        batches = batches[torch.randperm(len(batches), generator=generator)]
        return iter(torch.cat([batches.flatten(), last])[self.rank :: self.num_replicas].tolist())
