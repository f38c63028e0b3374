"""What the student of a distillation without data learns from in a step."""

from typing import NamedTuple

from torch import Tensor

from lightning_tasks.data_free.feature_loss import Hint


class StudentBatch(NamedTuple):
    """A batch that the student learns from.

    Attributes:
        x: Images (B, C, H, W).
        target: The teacher's logits (B, num_classes).
        places: Indices of the images in the memory bank (B,), if they are from it.
        hint: Features of the teacher's layers, if a loss asks for them.
    """

    x: Tensor
    target: Tensor
    places: Tensor | None = None
    hint: Hint | None = None
