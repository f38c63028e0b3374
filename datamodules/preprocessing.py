"""Mean, standard deviation and size of the images that a network was trained with, from where they are written."""

import functools
from dataclasses import dataclass
from pathlib import Path

from torchvision.models import get_weight

from lightning_tasks.runs.checkpoints import find_checkpoint
from lightning_tasks.runs.weights import read_checkpoint

OPTION = "data.preprocessing_of"


@dataclass(frozen=True)
class Preprocessing:
    """What becomes of an image before a network sees it.

    Attributes:
        image_shape: Channels, height and width.
        mean: Mean of each channel of images in [0, 1].
        std: Standard deviation, likewise.
    """

    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def side(self) -> int:
        """Height and width.

        Raises:
            ValueError: If they differ.
        """
        _, height, width = self.image_shape
        if height != width:
            raise ValueError(f"{OPTION}: its images are {height} x {width}, and only squares are resized to")
        return height


@functools.cache
def preprocessing_of(source: str) -> Preprocessing:
    """Find out how images were prepared for a network.

    Args:
        source: A checkpoint of this project, or the folder of a run or an experiment (see find_checkpoint); weights of
            torchvision, `torchvision/ResNet18_Weights.IMAGENET1K_V1`; or of timm, `timm/resnet18.a1_in1k`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it does not say, or nothing of that name is known.
    """
    library, _, name = source.partition("/")
    if not Path(source).exists() and library == "torchvision":
        return _of_torchvision(name)
    if not Path(source).exists() and library == "timm":
        return _of_timm(name)
    path = find_checkpoint(source, OPTION)
    data_spec = read_checkpoint(path, OPTION).get("data_spec", {})
    if not {"image_shape", "mean", "std"} <= set(data_spec):
        raise ValueError(f"{OPTION}: {path} does not say; give data.mean and data.std")
    return Preprocessing(tuple(data_spec["image_shape"]), tuple(data_spec["mean"]), tuple(data_spec["std"]))


def _of_torchvision(name: str) -> Preprocessing:
    try:
        transforms = get_weight(name).transforms()
    except ValueError as error:
        raise ValueError(f"{OPTION}: {error}, as ResNet18_Weights.IMAGENET1K_V1") from error
    if not hasattr(transforms, "crop_size"):
        raise ValueError(f"{OPTION}: torchvision's {name} are no weights of a classifier")
    side = transforms.crop_size[0]
    return Preprocessing((len(transforms.mean), side, side), tuple(transforms.mean), tuple(transforms.std))


def _of_timm(name: str) -> Preprocessing:
    try:
        from timm.models import get_pretrained_cfg  # an extra
    except ImportError as error:
        raise ValueError(f"{OPTION}: {error}; pip install 'lightning-tasks[external]'") from error
    found = get_pretrained_cfg(name)
    if found is None:
        raise ValueError(f"{OPTION}: timm has no weights {name!r}; timm.list_pretrained() names them")
    channels, height, width = found.input_size
    return Preprocessing((channels, height, width), tuple(found.mean), tuple(found.std))
