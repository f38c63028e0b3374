"""Base class of groups of options, such as an objective or a memory bank."""

from typing import Any, Self


class OptionGroup:
    """Settings of a task that a config gives as one option.

    They do not change, so a copy is the group itself. Lightning copies hyperparameters, and a default of
    `lazy_instance` that defines `__call__` cannot be copied otherwise.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
