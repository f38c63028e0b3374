"""Drawings of Quick, Draw! as steps of a pen."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import DistributedSampler

from datamodules.base import BaseDataModule
from datamodules.quickdraw_splits import QuickDrawSplits
from datamodules.sketches import BucketSampler, SketchSet
from lightning_tasks.drawings.batch import SketchBatch
from lightning_tasks.runs.data_spec import SketchDataSpec

WORDS = ("cat", "apple", "bus", "fish", "umbrella")


class QuickDrawDataModule(BaseDataModule):
    """Drawings that people made of words in the game Quick, Draw!, as sequences of steps.

    50 million drawings of 345 words (Google, CC BY 4.0, https://github.com/googlecreativelab/quickdraw-dataset).
    Batches are drawings.batch.SketchBatch. Files lie in `<root>/quickdraw/`: `<word>.ndjson`, simplified or raw, or
    Sketch-RNN's `<word>.npz` or `<word>.full.npz`, also with `sketchrnn_` before it, whose own split is not used; what
    is not there is downloaded. Drawings are divided into four splits, the same share of each word, and near-duplicates
    never into two: training, validation, test, and one for a recogniser that judges what a generator draws.

    Args:
        words: See QuickDrawSplits.
        root: See BaseDataModule.
        batch_size: See BaseDataModule.
        eval_batch_size: See BaseDataModule.
        bucket_by_length: Train on batches of drawings of similar length.
        random_scale: Multiply x and y of training drawings each by 1 - random_scale ... 1 + random_scale; 0.15 in
            Sketch-RNN.
        point_drop: Leave points of training strokes out with this probability; 0.10 in Sketch-RNN.
        balanced_sampling: See BaseDataModule.
        **options: See QuickDrawSplits.

    Attributes:
        offset_std: Standard deviation of all dx and dy of the training split, in drawing units (the longer side of a
            drawing is 255), which the offsets of batches are divided by; that of a checkpoint once one is loaded.
        recogniser_set: The split for a recogniser.
        class_names: The words.

    Raises:
        ValueError: If an option is out of range.
    """

    dataset_name = "QuickDraw"
    train_set: SketchSet | None
    val_set: SketchSet | None
    test_set: SketchSet | None

    def __init__(
        self,
        words: tuple[str, ...] = WORDS,
        root: str = "data",
        batch_size: int = 32,
        eval_batch_size: int = 200,
        bucket_by_length: bool = True,
        random_scale: float = 0.0,
        point_drop: float = 0.0,
        balanced_sampling: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(root, batch_size, eval_batch_size, balanced_sampling)
        for option, value in (("random_scale", random_scale), ("point_drop", point_drop)):
            if not 0 <= value < 1:
                raise ValueError(f"{option} must be in [0, 1), got {value}")
        self.splits = QuickDrawSplits(words, self.root, **options)
        self.class_names = list(self.splits.words)
        self.max_length = self.splits.max_length
        self.bucket_by_length = bucket_by_length
        self.augment = {"random_scale": random_scale, "point_drop": point_drop}
        self.recogniser_set: SketchSet | None = None
        self._offset_std: float | None = None

    @property
    def data_spec(self) -> SketchDataSpec:
        """Name of the set, its words, the longest drawing, and how they are divided."""
        return {
            "dataset": self.dataset_name,
            "words": self.splits.words,
            "max_length": self.max_length,
            "parts": self.splits.described,
        }

    def order_classes(self, names: Sequence[str]) -> None:
        """Number the words anew, see BaseDataModule."""
        if self.splits.order(names):
            self.class_names = list(names)
            self._offset_std = None
            if self.test_set is not None:
                self.make_splits()

    @property
    def offset_std(self) -> float:
        """Standard deviation of the training offsets, in drawing units; known once the data are read."""
        assert self._offset_std is not None, "setup comes before the statistics"
        return self._offset_std

    def prepare_data(self) -> None:
        """Have the files on disk, and refuse what cannot be read before a run starts."""
        self.splits.download()
        self._make_splits_once()

    def make_splits(self) -> None:
        """Read and divide the drawings."""
        drawings, labels, (train, val, test, recogniser) = self.splits.read()
        self.train_set = SketchSet(drawings, labels, train, self.max_length, **self.augment)
        self.val_set, self.test_set, self.recogniser_set = (
            SketchSet(drawings, labels, each, self.max_length) for each in (val, test, recogniser)
        )
        self._scale(self._offset_std or self.train_set.offsets().double().std(correction=0).item())

    def _scale(self, offset_std: float) -> None:
        self._offset_std = offset_std
        for each in (self.train_set, self.val_set, self.test_set, self.recogniser_set):
            if each is not None:
                each.offset_std = offset_std

    def test_samples(self, indices: list[int]) -> SketchBatch:
        """Give some test drawings as the batch that a task sees; for plots."""
        assert self.test_set is not None, "setup comes before the samples"
        return self.test_set.__getitems__(indices)

    def state_dict(self) -> dict[str, Any]:
        """Give the seed and the scale of the offsets to a checkpoint."""
        return super().state_dict() | {"offset_std": self._offset_std}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up again."""
        super().load_state_dict(state_dict)
        self._scale(state_dict["offset_std"])

    def train_sampler(self, num_replicas: int, rank: int) -> DistributedSampler:
        """Draw batches of similar length, if asked to."""
        if not self.bucket_by_length:
            return super().train_sampler(num_replicas, rank)
        assert self.train_set is not None
        return BucketSampler(self.train_set, self.batch_size, num_replicas, rank, self.seed, self.balanced_sampling)
