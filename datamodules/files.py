"""Files that `predict` answers, and no other image."""

from typing import Any

from datamodules.images import ImageDataModule
from lightning_tasks.runs.data_spec import ImageDataSpec


class FilesDataModule(ImageDataModule):
    """A user's files, prepared as a checkpoint says: its training images, which may be far away, are not needed.

    Args:
        data_spec: Specification of the checkpoint's training data, see ImageDataSpec.
        options: `predict` and `eval_batch_size`, see ImageDataModule.
    """

    def __init__(self, data_spec: ImageDataSpec, **options: Any) -> None:
        self._data_spec = data_spec
        self.dataset_name = data_spec["dataset"]  # type: ignore[misc]
        self.num_classes = data_spec["num_classes"]  # type: ignore[misc]
        self.image_shape, self.mean, self.std = (
            data_spec["image_shape"],
            tuple(data_spec["mean"]),
            tuple(data_spec["std"]),
        )
        super().__init__(**options)
        self.class_names = list(data_spec["classes"])
        self.class_levels = data_spec.get("class_levels", {})

    @property
    def data_spec(self) -> ImageDataSpec:
        """As they are given."""
        return self._data_spec

    def prepare_data(self) -> None:
        """Nothing to fetch."""

    def make_splits(self) -> None:
        """Nothing to divide."""
