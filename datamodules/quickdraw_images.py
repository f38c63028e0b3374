"""Drawings of Quick, Draw! as images."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from datamodules.base import BATCH_SIZE
from datamodules.images import ImageDataModule
from datamodules.quickdraw import WORDS
from datamodules.quickdraw_splits import QuickDrawSplits
from datamodules.tensors import TensorImages
from lightning_tasks.drawings.collection import Collection
from lightning_tasks.drawings.render import render_all
from lightning_tasks.drawings.steps import to_drawing
from lightning_tasks.runs.data_spec import ImageDataSpec


class QuickDrawImagesDataModule(ImageDataModule):
    """The drawings of QuickDrawDataModule as grey images, for a recogniser that judges what a generator draws.

    With the same words, fractions and `split_seed`, it trains on the split that QuickDrawDataModule keeps for it, and
    has the same validation and test split. Drawings are cut to `max_length` steps there and here. Mean and standard
    deviation are those of the recogniser's training images of the five default words, 28 pixels wide; at 64 pixels
    they are 0.1450 and 0.3302.

    Args:
        words: See QuickDrawSplits.
        image_size: Pixels of a side.
        root: See BaseDataModule.
        batch_size: See BaseDataModule.
        eval_batch_size: See BaseDataModule.
        balanced_sampling: See BaseDataModule.
        mean: See ImageDataModule.
        std: See ImageDataModule.
        augment: See ImageDataModule.
        **options: See QuickDrawSplits.

    Raises:
        ValueError: If an option is out of range.
    """

    dataset_name = "QuickDraw"
    mean = (0.1359,)
    std = (0.2892,)

    def __init__(
        self,
        words: tuple[str, ...] = WORDS,
        image_size: int = 28,
        root: str = "data",
        batch_size: int = BATCH_SIZE,
        eval_batch_size: int = 1000,
        balanced_sampling: bool = False,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        augment: Sequence[Callable] | None = None,
        **options: Any,
    ) -> None:
        if image_size < 8:
            raise ValueError(f"image_size must be at least 8, got {image_size}")
        self.num_classes = len(words)  # type: ignore[misc]
        self.image_shape = (1, image_size, image_size)
        super().__init__(
            root=root,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            balanced_sampling=balanced_sampling,
            mean=mean,
            std=std,
            augment=augment,
        )
        self.splits = QuickDrawSplits(words, self.root, **options)
        self.class_names = list(self.splits.words)

    @property
    def data_spec(self) -> ImageDataSpec:
        """Those of images, the words, which are the classes, and how the drawings are divided."""
        data_spec: ImageDataSpec = {**super().data_spec, "words": self.splits.words, "parts": self.splits.described}
        del data_spec["classes"]
        return data_spec

    def order_classes(self, names: Sequence[str]) -> None:
        """Number the words anew, see BaseDataModule."""
        if self.splits.order(names):
            self.class_names = list(names)
            if self.test_set is not None:
                self.make_splits()

    def prepare_data(self) -> None:
        """Have the files on disk, and refuse what cannot be read before a run starts."""
        self.splits.download()
        self._make_splits_once()

    def make_splits(self) -> None:
        """Read, divide and render the drawings; about 2,000 a second."""
        drawings, labels, (_, *indices) = self.splits.read()
        self.val_set, self.test_set, self.train_set = (self._render(drawings, labels, each) for each in indices)

    def _render(self, drawings: Collection, labels: np.ndarray, indices: np.ndarray) -> TensorImages:
        runs = zip(drawings.starts[indices], drawings.counts[indices], strict=True)
        strokes = [
            to_drawing(drawings.steps[start : start + min(count, self.splits.max_length)]) for start, count in runs
        ]
        images = torch.from_numpy(render_all(strokes, self.image_shape[1]))
        return TensorImages(images[:, None], torch.from_numpy(labels[indices]))
