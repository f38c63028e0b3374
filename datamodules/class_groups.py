"""Groups of superclasses: the top level of a tree of classes, as a user writes it down."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class ClassGroup:
    """Superclasses that belong together.

    Attributes:
        name: Name of the group.
        superclasses: Names of its superclasses, as the data set spells them.
        reason: Why a person would put them together.
    """

    name: str
    superclasses: list[str]
    reason: str = ""


def require_names(groups: Sequence[ClassGroup]) -> None:
    """Refuse groups that cannot be a level of a tree, whatever the data.

    Raises:
        ValueError: If a group has no superclass, or a name is a duplicate.
    """
    for group in groups:
        if not group.superclasses:
            raise ValueError(f"data.groups: group {group.name!r} has no superclass")
    for kind, names in (
        ("group", [group.name for group in groups]),
        ("superclass", [name for group in groups for name in group.superclasses]),
    ):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"data.groups: {kind} {twice[0]!r} stands there twice")


def group_of_each(groups: Sequence[ClassGroup], superclasses: Sequence[str]) -> dict[str, str]:
    """Give the group of each superclass of a data set.

    Args:
        groups: Groups that hold every superclass once.
        superclasses: Their names in the data set.

    Returns:
        The name of the group by that of the superclass.

    Raises:
        ValueError: If a superclass is unknown or left out; names it, and the nearest of the known ones.
    """
    found = {name: group.name for group in groups for name in group.superclasses}
    missing = [name for name in superclasses if name not in found]
    for name, group in found.items():
        if name not in superclasses:
            near = difflib.get_close_matches(name, missing or superclasses, n=1, cutoff=0)
            raise ValueError(f"data.groups: no superclass {name!r} (in group {group!r}); the nearest is {near[0]!r}")
    if missing:
        raise ValueError(f"data.groups: no group holds {', '.join(map(repr, missing))}")
    return found
