"""No images at all: what data-free distillation must know of them."""

from typing import Any

from torch.utils.data import DataLoader

from datamodules.images import ImageDataModule
from datamodules.preprocessing import preprocessing_of as find_preprocessing
from datamodules.tensors import StepDataset
from lightning_tasks.runs.data_spec import NO_IMAGES


class NoImages(ImageDataModule):
    """Stands for images that nobody has: training, validation and test are step numbers for a data-free task.

    Args:
        num_classes: Number of classes of the teacher, at least 2.
        image_shape: Channels, height and width of its images.
        mean: Mean of each channel of images in [0, 1], with which the teacher was trained.
        std: Standard deviation, likewise.
        preprocessing_of: Where these three are known, if they are not given; see ImageDataModule.
        steps_per_epoch: Rounds of an epoch.
        eval_steps: Batches that the task synthesises for a validation, and as many for the test.
        class_names: Names of the classes; their numbers if not given.
        options: See ImageDataModule; those of real images do nothing.

    Raises:
        ValueError: If an option is out of range.
    """

    dataset_name = NO_IMAGES

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        preprocessing_of: str | None = None,
        steps_per_epoch: int = 50,
        eval_steps: int = 8,
        class_names: list[str] | None = None,
        **options: Any,
    ) -> None:
        if preprocessing_of is not None:
            known = find_preprocessing(preprocessing_of)
            image_shape, mean, std = image_shape or known.image_shape, mean or known.mean, std or known.std
        if image_shape is None or mean is None or std is None:
            raise ValueError("image_shape, mean and std must be given, or preprocessing_of, which says them")
        if num_classes < 2 or min(image_shape) < 1 or eval_steps < 1:
            raise ValueError(
                "num_classes must be at least 2, image_shape and eval_steps at least 1, got"
                f" {num_classes}, {list(image_shape)} and {eval_steps}"
            )
        if class_names is not None and len(class_names) != num_classes:
            raise ValueError(f"class_names: {len(class_names)} names for {num_classes} classes")
        if not len(mean) == len(std) == image_shape[0]:
            raise ValueError(f"mean and std need a number for each of {image_shape[0]} channels, got {mean} and {std}")
        self.num_classes = num_classes  # type: ignore[misc]
        self.image_shape = image_shape
        self.mean, self.std = tuple(mean), tuple(std)
        super().__init__(mean=mean, std=std, steps_per_epoch=steps_per_epoch, **options)
        self.eval_steps = eval_steps
        self.class_names = class_names or self.class_names

    def prepare_data(self) -> None:
        """Nothing to fetch."""

    def make_splits(self) -> None:
        """Nothing to divide."""

    def val_dataloader(self) -> DataLoader:
        """Step numbers."""
        return DataLoader(StepDataset(self.eval_steps), batch_size=None)

    def test_dataloader(self) -> DataLoader:
        """Step numbers."""
        return self.val_dataloader()
