"""What a task must know of its data: the contract between datamodules, which give it as `data_spec`, and tasks."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

NO_IMAGES = "no images"  # the name of the set where there is none
OF_A_NETWORK = ("num_classes", "image_shape", "mean", "std", "classes")  # entries that hold without a set
NAMES = ("classes", "words")  # entries that name the classes, in order
MAY_LACK = ("classes", "class_levels", "parts")  # entries that older checkpoints lack, or data that are not read yet
SHOWN = 10  # names of classes at most


class ImageDataSpec(TypedDict):
    """Facts of a set of labelled images.

    Attributes:
        dataset: Name of the set.
        num_classes: Number of classes.
        image_shape: Channels, height and width of an image.
        mean: Mean of each channel of the training images in [0, 1], which images are normalised by.
        std: Standard deviation of each channel, likewise.
        classes: Names of the classes, in order; their numbers where they have no names, or none that are known yet.
        class_levels: For classes that form a tree, once the data are read: by the name of each level above the classes
            the name of what each class belongs to there.
        words: For images of drawings, the words drawn, in the order of the classes.
        parts: Which samples are for the test: the official split, or a ratio and its seed; of drawings see
            SketchDataSpec.
        groups: For classes that form a tree, the superclasses of each group.
    """

    dataset: str
    num_classes: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: NotRequired[tuple[str, ...]]
    class_levels: NotRequired[dict[str, list[str]]]
    words: NotRequired[tuple[str, ...]]
    parts: NotRequired[str]
    groups: NotRequired[dict[str, list[str]]]


class SketchDataSpec(TypedDict):
    """Facts of a set of drawings.

    Attributes:
        dataset: Name of the set.
        words: The words drawn, in the order of the classes.
        max_length: Steps of the longest drawing, END included.
        parts: How the drawings are divided.
    """

    dataset: str
    words: tuple[str, ...]
    max_length: int
    parts: str


def are_numbers(names: Sequence[str]) -> bool:
    """Say whether the names of classes are but their numbers, which stand for any names."""
    return list(names) == [str(number) for number in range(len(names))]


def names_in(data_spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the names of the classes, in order; none if they are not known."""
    return tuple(data_spec.get("words") or data_spec.get("classes", ()))


def positions(names: Sequence[str], among: Sequence[str]) -> list[int] | None:
    """Say where each name stands among others; None if these are not the same names, each once."""
    if sorted(names) != sorted(among) or len(set(among)) < len(among):
        return None
    return [among.index(name) for name in names]


def in_order_of(theirs: Mapping[str, Any] | None, ours: Mapping[str, Any]) -> dict[str, Any]:
    """Put the classes of the present data in the order of something that was made with the same ones.

    Args:
        theirs: Facts that it was made with; None where they are not known.
        ours: Facts of the present data.

    Returns:
        Our specification; with the classes in their order if the names are the same, each once, and with their names if
        ours are numbers or not known.
    """
    data_spec = dict(ours)
    for name in NAMES:
        there, here = tuple((theirs or {}).get(name, ())), tuple(ours.get(name, ()))
        if theirs is None or not there:
            continue
        if (order := positions(there, here)) is not None:
            levels = {level: [names[i] for i in order] for level, names in ours.get("class_levels", {}).items()}
        elif name == "classes" and are_numbers(here) and len(here) in (0, len(there)):
            levels = {}
        else:
            continue
        if levels := levels or theirs.get("class_levels", {}):
            data_spec["class_levels"] = levels
        data_spec[name] = there
    return data_spec


def require_equal(theirs: Mapping[str, Any] | None, ours: Mapping[str, Any], of: str) -> None:
    """Refuse other specifications, as a whole; where one side has no images, those that a network has without them.

    Names of classes, and the split, pass if one side does not know them.

    Args:
        theirs: Facts that something was made with; None where they are not known, which passes.
        ours: Facts of the present data.
        of: Owner of `theirs`, for the error message: "teacher_ckpt: a.ckpt was trained".

    Raises:
        ValueError: If any fact differs; names each.
    """
    if theirs is None:
        return
    plain_theirs, plain_ours = _plain(theirs), _plain(ours)
    names = {**plain_theirs, **plain_ours}
    if NO_IMAGES in (plain_theirs.get("dataset"), plain_ours.get("dataset")):
        names = dict.fromkeys(OF_A_NETWORK)
    unknown = {name for name in MAY_LACK if not (plain_theirs.get(name) and plain_ours.get(name))}
    if "classes" not in unknown and (are_numbers(theirs["classes"]) or are_numbers(ours["classes"])):
        unknown.add("classes")
    differing = [name for name in names if name not in unknown and plain_theirs.get(name) != plain_ours.get(name)]
    if differing:
        said = [_both(name, plain_theirs.get(name), plain_ours.get(name)) for name in differing]
        there, here = (", ".join(each) for each in zip(*said, strict=True))
        cure = "; name the classes as they were, or train anew" if set(differing) & set(NAMES) else ""
        raise ValueError(f"{of} with {there}; this run has {here}{cure}")


def _both(name: str, there: Any, here: Any) -> tuple[str, str]:
    """Say what a fact is there and here; of many names only those that are not in the same place on the other side."""
    if name in NAMES and there and here:
        return f"{name} {_listed(there, here)}", _listed(here, there)
    return f"{name} {_short(there)}", _short(here)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 100 else f"{text[:97]}..."


def _listed(names: list[str], others: list[str]) -> str:
    if len(names) > SHOWN:
        names = [name for place, name in enumerate(names) if others[place : place + 1] != [name]]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _plain(data_spec: Mapping[str, Any]) -> dict[str, Any]:
    """A tuple that was read back from a config is a list."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in data_spec.items()}
