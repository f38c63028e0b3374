"""What image datamodules share: splits, per-class subsets, augmentation, normalisation."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import takewhile
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from datamodules.augment import BatchRandomCrop, BatchRandomFlip, Mixing, ProgressiveResize
from datamodules.base import BATCH_SIZE, BaseDataModule
from datamodules.image_files import ImageFiles, find_images, workers_for
from datamodules.leaks import require_apart
from datamodules.preprocessing import preprocessing_of as find_preprocessing
from datamodules.splits import RATIOS, per_class_subset, stratified_split
from datamodules.tensors import Batch, TensorImages
from lightning_tasks.runs.data_spec import ImageDataSpec, are_numbers, positions
from lightning_tasks.runs.seed import require_seed

FEATURE_BYTES = 2 * 2**30
MOVES = (BatchRandomCrop, BatchRandomFlip)  # transforms that move pixels and change none
Split = Literal["official", "70:30", "80:20", "90:10"]


class ImageDataModule(BaseDataModule):
    """A labelled image set, held in memory as uint8 and served in whole batches.

    Batches reach the task as (x, y): x float (B, C, H, W), normalised by `mean` and `std`, y int64 (B,). Augmentation
    and normalisation run on the device, after the transfer of the small uint8 batch.

    Args:
        root: See BaseDataModule.
        batch_size: See BaseDataModule.
        eval_batch_size: See BaseDataModule.
        split: The official split into training and test, or a stratified one of all samples.
        val_fraction: Share of the training split that is set aside for validation, stratified, in (0, 1).
        split_seed: Seed of all splits and subsets; it is apart from `seed_everything`, so that runs with other seeds
            are compared on the same samples.
        train_per_class: Train on this many samples of each class only.
        test_per_class: Test on this many samples of each class only.
        balanced_sampling: See BaseDataModule.
        normalise: Subtract the mean and divide by the standard deviation; else images stay in [0, 1].
        image_size: Height and width that images are resized to, before they are augmented; their own if not given.
        mean: Mean of each channel of images in [0, 1]; the set's own if not given. Give that of pretrained weights.
        std: Standard deviation, likewise, above 0 and at most 1.
        preprocessing_of: Source of the image size, mean and standard deviation that are not given: a
            checkpoint of this project, the folder of a run or an experiment, or known weights, as
            torchvision/ResNet18_Weights.IMAGENET1K_V1 or timm/resnet18.a1_in1k.
        augment: Transforms of training batches, applied in order to float images (B, C, H, W) in [0, 1]; those of
            `datamodules.augment`, or any from kornia.augmentation. Crops and flips that come first are given bytes, of
            which they make the same images faster. After BatchMixUp or BatchCutMix labels are soft.
        steps_per_epoch: See BaseDataModule; the training images are not kept.
        num_workers: See BaseDataModule.
        predict: Image files, folders or patterns that `predict` answers, in place of the test split; see ImageFiles.

    Attributes:
        predict_files: The files of `predict`, in order.
        class_names: Names of the classes, in order; their numbers where the set has no names, or has not been read.
        class_levels: For a set whose classes form a tree, by the name of each level above the classes, nearest first,
            the name of the group of each class.

    Raises:
        ValueError: If an option is out of range, or a class has too few samples for what is asked.
    """

    num_classes: ClassVar[int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    train_set: TensorImages | None
    val_set: TensorImages | None
    test_set: TensorImages | None

    def __init__(
        self,
        root: str = "data",
        batch_size: int = BATCH_SIZE,
        eval_batch_size: int = 1000,
        split: Split = "official",
        val_fraction: float = 0.1,
        split_seed: int = 0,
        train_per_class: int | None = None,
        test_per_class: int | None = None,
        balanced_sampling: bool = False,
        normalise: bool = True,
        image_size: int | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        preprocessing_of: str | None = None,
        augment: Sequence[Callable] | None = None,
        steps_per_epoch: int | None = None,
        num_workers: int = 0,
        predict: list[str] | str | None = None,
    ) -> None:
        super().__init__(root, batch_size, eval_batch_size, balanced_sampling, steps_per_epoch, num_workers)
        places = [predict] if isinstance(predict, str) else predict or []
        self.predict_files = find_images(places)
        self.split = split
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        require_seed(split_seed, "split_seed")
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        counts = {"train_per_class": train_per_class, "test_per_class": test_per_class, "image_size": image_size}
        for option, count in counts.items():
            if count is not None and count < 1:
                raise ValueError(f"{option} must be at least 1, got {count}")
        if steps_per_epoch is not None and augment:
            raise ValueError("augment: with steps_per_epoch no training image is read")
        if preprocessing_of is not None:
            known = find_preprocessing(preprocessing_of)
            mean, std, image_size = mean or known.mean, std or known.std, image_size or known.side
        for option, value in (("mean", mean), ("std", std)):
            if value is not None:
                if len(value) != len(self.mean) or (option == "std" and min(value) <= 0):
                    raise ValueError(f"{option} needs a number for each of {len(self.mean)} channels, got {value}")
                if not 0 <= min(value) <= max(value) <= 1:
                    cause = "; divide by 255?" if min(value) >= 0 else ""
                    raise ValueError(f"{option} is of images in [0, 1] and must be in [0, 1] too, got {value}{cause}")
                setattr(self, option, tuple(value))
        channels, *size = self.image_shape
        self._side = None if image_size is None or size == [image_size] * 2 else image_size
        if self._side is not None:
            self.image_shape = (channels, self._side, self._side)
        if not normalise:
            self.mean, self.std = (0.0,) * len(self.mean), (1.0,) * len(self.std)
        if 0 in self.std:
            empty = f"channel {self.std.index(0) + 1} of {channels}"
            raise ValueError(
                f"std: {empty} of the training images has one value everywhere; give data.std, with 1 for that channel"
            )
        self.augment = tuple(augment or ())
        self._images: tuple[TensorImages, TensorImages] | None = None  # while features stand in their place
        self._order: list[str] | None = None  # in place of the set's own
        self.class_names = [str(label) for label in range(self.num_classes)]
        self.class_levels = {}

    @property
    def class_names(self) -> list[str]:
        """See the attributes above; set in the set's own order."""
        return self._order or self._own_names

    @class_names.setter
    def class_names(self, names: Sequence[str]) -> None:
        self._own_names = list(names)

    @property
    def class_levels(self) -> dict[str, list[str]]:
        """See the attributes above; set in the set's own order."""
        order = positions(self.class_names, self._own_names) or range(self.num_classes)
        return {level: [names[i] for i in order] for level, names in self._own_levels.items()}

    @class_levels.setter
    def class_levels(self, levels: dict[str, list[str]]) -> None:
        self._own_levels = levels

    def order_classes(self, names: Sequence[str]) -> None:
        """Number the classes anew, see BaseDataModule; a set without names takes these.

        Splits that were made already are made again, since samples are drawn class by class. A subclass that makes its
        splits itself keeps its order.
        """
        names = list(names)
        if names == self.class_names or len(names) != self.num_classes or are_numbers(names):
            return
        if are_numbers(self._own_names):
            self.class_names = names
        elif type(self).make_splits is ImageDataModule.make_splits and positions(names, self._own_names):
            self._order = names
            if self.test_set is not None:
                self.make_splits()

    @property
    def data_spec(self) -> ImageDataSpec:
        """Name of the set, its split and its classes, and shape, mean and standard deviation of its images."""
        return {
            "dataset": self.dataset_name,
            "parts": "official split" if self.split == "official" else f"split {self.split}, seed {self.split_seed}",
            "num_classes": self.num_classes,
            "image_shape": self.image_shape,
            "mean": self.mean,
            "std": self.std,
            "classes": tuple(self.class_names),
            **({"class_levels": self.class_levels} if self._own_levels else {}),  # type: ignore[typeddict-item]
        }

    def load(self) -> tuple[TensorImages, TensorImages | None]:
        """Read the official training and test splits from disk; None where the set has no official test split."""
        raise NotImplementedError

    def load_val(self) -> TensorImages | None:
        """Read an official validation split; None where there is none, and one is set aside."""
        return None

    def make_splits(self) -> None:
        """Take the test split, then the validation split, then the per-class subsets."""
        train, test = (self._in_order(split) for split in self.load())
        official_val = self._in_order(self.load_val())
        assert train is not None
        if self.split == "official":
            if test is None:
                raise ValueError(
                    f"{self.dataset_name} has no official split; data.split must be one of {sorted(RATIOS)}"
                )
            require_apart({"training": train, "validation": official_val, "test": test})
        else:
            if test is not None:
                train = TensorImages(torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels]))
            train, test = self._divide(train, RATIOS[self.split], "data.split")
        self.val_set = official_val
        if self.val_set is None:
            train, self.val_set = self._divide(train, 1 - self.val_fraction, "data.val_fraction")
        if self.steps_per_epoch is None:
            self.train_set = self._per_class(train, self.train_per_class, "data.train_per_class")
        else:
            self.val_set = self.val_set.copy()  # lets go of the training images
        self.test_set = self._per_class(test, self.test_per_class, "data.test_per_class")
        if self._side is not None:
            self.train_set = self.train_set and self.train_set.resized(self._side)
            self.val_set, self.test_set = self.val_set.resized(self._side), self.test_set.resized(self._side)

    def _in_order(self, data: TensorImages | None) -> TensorImages | None:
        if data is None or self._order is None:
            return data
        return data.relabelled(torch.tensor(positions(self._own_names, self._order)))

    def _divide(self, data: TensorImages, share: float, option: str) -> tuple[TensorImages, TensorImages]:
        first, second = stratified_split(data.labels, share, self.split_seed, option)
        return data.subset(first), data.subset(second)

    def _per_class(self, data: TensorImages, count: int | None, option: str) -> TensorImages:
        if count is None:
            return data
        return data.subset(per_class_subset(data.labels, count, self.split_seed, option))

    def predict_dataloader(self) -> DataLoader:
        """The files of `predict`, in order; else the test split."""
        if not self.predict_files:
            return super().predict_dataloader()
        files = ImageFiles(self.predict_files, self.image_shape)
        return self._evaluation_loader(files, workers_for(self.predict_files))

    def test_samples(self, count: int) -> Batch:
        """Give the first test samples, or all if there are fewer, as the batch (x, y) a task sees; for plots."""
        assert self.test_set is not None, "setup comes before the samples"
        images, labels = self.test_set.__getitems__(list(range(min(count, len(self.test_set)))))
        return self.normalise(images.float() / 255), labels

    def precompute(self, function: Callable[[Tensor], Tensor], device: torch.device) -> bool:
        """Let training and validation batches hold what a function makes of images, computed once, until fit ends.

        Args:
            function: Maps normalised images (B, C, H, W) to features (B, ...), always alike.
            device: Device on which it computes.

        Returns:
            Whether that was done: not if images are augmented, or the features would take more than 2 GB.
        """
        assert self.train_set is not None
        assert self.val_set is not None, "setup comes before the features"
        if self.augment:
            return False
        sets = self.train_set, self.val_set
        with torch.no_grad():
            one = function(self.normalise(self.train_set[0][0][None].float() / 255).to(device))
            if one.numel() * 4 * sum(map(len, sets)) > FEATURE_BYTES:
                return False
            self._images = sets
            rank_zero_info(f"the frozen layers process {sum(map(len, sets)):,} images once, before training")
            self.train_set, self.val_set = (self._features(each, function, device) for each in sets)
        return True

    def teardown(self, stage: str) -> None:
        """Have images again in place of features."""
        if stage == "fit" and self._images is not None:
            self.train_set, self.val_set = self._images
            self._images = None

    def _features(self, data: TensorImages, function: Callable[[Tensor], Tensor], device: torch.device) -> TensorImages:
        batches = torch.arange(len(data)).split(self.eval_batch_size)
        images = (data.__getitems__(indices.tolist())[0] for indices in batches)
        features = [function(self.normalise(x.to(device).float() / 255)).float().cpu() for x in images]
        return TensorImages(torch.cat(features), data.labels)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn uint8 images into normalised floats of the task's precision; augment them in training."""
        if not isinstance(batch, (list, tuple)):  # a bare step number
            return batch
        x, y = batch
        if self.trainer is None:
            return self.normalise(x.float() / 255), y
        if x.dtype != torch.uint8:  # of `precompute`
            return x.to(self.trainer.lightning_module.dtype), y
        transforms = self.augment if self.trainer.training else ()
        moves = list(takewhile(lambda each: isinstance(each, MOVES), transforms))
        for transform in moves:
            x = transform(x)
        x = x.float().div_(255)
        for transform in transforms[len(moves) :]:
            if isinstance(transform, Mixing):
                x, y = transform(x, y if y.ndim == 2 else F.one_hot(y, self.num_classes).to(x.dtype))
            elif isinstance(transform, ProgressiveResize):
                x = transform(x, self._progress())
            else:
                x = transform(x)
        return self.normalise_(x).to(self.trainer.lightning_module.dtype), y

    def _progress(self) -> float:
        """Say what share of the epochs is done."""
        assert self.trainer is not None
        epochs = self.trainer.max_epochs or -1
        if epochs < 0:
            raise ValueError("ProgressiveResize needs a length of training: set trainer.max_epochs")
        return self.trainer.current_epoch / epochs

    def normalise(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) in [0, 1] by the set's mean and standard deviation per channel."""
        return self.normalise_(x.clone())

    def normalise_(self, x: Tensor) -> Tensor:
        """Do as `normalise`, in place: memory that is touched first is most of what a batch costs."""
        mean, std = (_per_channel(tuple(each), x.dtype, x.device) for each in (self.mean, self.std))
        return x.sub_(mean).div_(std)


@cache
def _per_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Put a number for each channel on a device, once: the host waits for a copy. Shape (C, 1, 1)."""
    return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)


def channel_statistics(images: TensorImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation of each channel as shares of 255, to 4 digits.

    Args:
        images: Fetched in groups, since the whole may be larger than the memory. Shapes (C, H, W), uint8.
    """
    groups = (images.__getitems__(group.tolist())[0] for group in torch.arange(len(images)).split(1000))
    counts = [torch.stack([x.flatten().bincount(minlength=256) for x in group.unbind(1)]) for group in groups]
    total = torch.stack(counts).sum(0).double()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, square = (total @ power / total.sum(1) for power in (values, values.square()))
    std = (square - mean.square()).clamp(min=0).sqrt()  # of one value everywhere, the difference may round below 0
    return tuple(round(value, 4) for value in mean.tolist()), tuple(round(value, 4) for value in std.tolist())
