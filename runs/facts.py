"""What a task must know of its data: the contract between datamodules, which give it as `facts`, and tasks."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

NO_IMAGES = "no images"  # the name of the set where there is none
OF_A_NETWORK = ("num_classes", "image_shape", "mean", "std")  # facts that hold without a set


class ImageFacts(TypedDict):
    """Facts of a set of labelled images.

    Attributes:
        dataset: Name of the set.
        num_classes: Number of classes.
        image_shape: Channels, height and width of an image.
        mean: Mean of each channel of the training images in [0, 1], which images are normalised by.
        std: Standard deviation of each channel, likewise.
        words: Of pictures of drawings: what is drawn, in the order of the classes.
        parts: Of pictures of drawings: how they are divided, see SketchFacts.
        groups: Of classes that form a tree: the superclasses of each group.
    """

    dataset: str
    num_classes: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    words: NotRequired[tuple[str, ...]]
    parts: NotRequired[str]
    groups: NotRequired[dict[str, list[str]]]


class SketchFacts(TypedDict):
    """Facts of a set of drawings.

    Attributes:
        dataset: Name of the set.
        words: What is drawn, in the order of the classes.
        max_length: Steps of the longest drawing, END included.
        parts: How the drawings are divided.
    """

    dataset: str
    words: tuple[str, ...]
    max_length: int
    parts: str


def require_equal(theirs: Mapping[str, Any] | None, ours: Mapping[str, Any], of: str) -> None:
    """Refuse facts that differ, as a whole; where one side has no images, those that a network has without them.

    Args:
        theirs: Facts that something was made with; None where they are not known, which passes.
        ours: Facts of the present data.
        of: What `theirs` belong to, for the error: "teacher_ckpt: a.ckpt was trained".

    Raises:
        ValueError: If any fact differs; names each.
    """
    if theirs is None:
        return
    plain_theirs, plain_ours = _plain(theirs), _plain(ours)
    names = {**plain_theirs, **plain_ours}
    if NO_IMAGES in (plain_theirs.get("dataset"), plain_ours.get("dataset")):
        names = dict.fromkeys(OF_A_NETWORK)
    found = [name for name in names if plain_theirs.get(name) != plain_ours.get(name)]
    if found:
        there = ", ".join(f"{name} {plain_theirs.get(name)}" for name in found)
        here = ", ".join(f"{plain_ours.get(name)}" for name in found)
        raise ValueError(f"{of} with {there}; this run has {here}")


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A tuple that was read back from a config is a list."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}
