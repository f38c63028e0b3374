"""Files that `predict` answers, and no other image."""

from typing import Any

from datamodules.images import ImageDataModule
from lightning_tasks.runs.data_spec import ImageFacts


class FilesDataModule(ImageDataModule):
    """A user's files, prepared as a checkpoint says: its training images, which may be far away, are not needed.

    Args:
        facts: Of the data that the checkpoint was trained with, see ImageFacts.
        options: `predict` and `eval_batch_size`, see ImageDataModule.
    """

    def __init__(self, facts: ImageFacts, **options: Any) -> None:
        self._facts = facts
        self.dataset_name = facts["dataset"]  # type: ignore[misc]
        self.num_classes = facts["num_classes"]  # type: ignore[misc]
        self.image_shape, self.mean, self.std = facts["image_shape"], tuple(facts["mean"]), tuple(facts["std"])
        super().__init__(**options)
        self.class_names = list(facts["classes"])
        self.class_levels = facts.get("class_levels", {})

    @property
    def facts(self) -> ImageFacts:
        """As they are given."""
        return self._facts

    def prepare_data(self) -> None:
        """Nothing to fetch."""

    def make_parts(self) -> None:
        """Nothing to divide."""
