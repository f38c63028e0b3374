"""Networks that are none of this project's: any class or function that gives a module."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape
from lightning_tasks.networks.undisturbed import undisturbed

# Names by which networks are told what the data are; what is not among them is for the config to set.
FACTS: dict[str, Callable[[int, ImageShape], Any]] = {
    **dict.fromkeys(("num_classes", "n_classes"), lambda classes, shape: classes),
    **dict.fromkeys(("image_shape", "input_shape"), lambda classes, shape: shape),
    **dict.fromkeys(("in_channels", "in_chans"), lambda classes, shape: shape[0]),
}


class OwnNetwork(ImageNetwork):
    """Any module that maps images (B, C, H, W) to logits (B, num_classes), as an ImageNetwork.

    Args:
        module: The module.
        num_classes: See ImageNetwork.
        image_shape: See ImageNetwork.

    Raises:
        ValueError: If it does not do so; says with what shapes.
    """

    def __init__(self, module: nn.Module, num_classes: int, image_shape: ImageShape) -> None:
        super().__init__(num_classes, image_shape)
        self.module = module
        name, shape = type(module).__name__, (2, *image_shape)
        try:
            with undisturbed(self):
                logits = self(torch.zeros(shape))
        except Exception as error:  # whatever a module raises
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{name} cannot take images {shape}: {type(error).__name__}: {reason}") from error
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if got != (2, num_classes):
            raise ValueError(
                f"{name} maps images {shape} to {got}; the data have {num_classes} classes: {(2, num_classes)}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.module(x)

    @property
    def inner(self) -> nn.Module:
        """The module."""
        return self.module

    def parts(self) -> list[nn.Module]:
        """Give the modules of a sequence, or the one."""
        return list(self.module) if isinstance(self.module, nn.Sequential) else [self]


def build_network(
    factory: Callable[..., nn.Module] | nn.Module, num_classes: int, image_shape: ImageShape
) -> ImageNetwork:
    """Make a network for the data.

    Args:
        factory: An ImageNetwork's class with its options; a module, which is copied; or anything else that gives a
            module when it is called. The latter is told what its parameters ask for by a name in FACTS; if they ask for
            nothing by these names, two that must be given are `num_classes` and `image_shape`, in this order. Whoever
            takes any keyword besides others, as `timm.create_model` does, is told `num_classes`; who takes nothing but
            keywords, as `lambda **facts: ...`, also `image_shape`.
        num_classes: Number of classes.
        image_shape: Channels, height and width of an image.

    Raises:
        ValueError: If it cannot be called so, or what it gives is no module or no network for these images.
    """
    if isinstance(factory, nn.Module):
        made = copy.deepcopy(factory)
        return made if isinstance(made, ImageNetwork) else OwnNetwork(made, num_classes, image_shape)
    target = _called(factory)
    if inspect.isclass(target) and issubclass(target, ImageNetwork):
        return cast("ImageNetwork", factory(num_classes, image_shape))
    name = getattr(target, "__name__", str(target))
    parameters = inspect.signature(target).parameters.values()
    options = factory.keywords if isinstance(factory, functools.partial) else {}
    asked = [each.name for each in parameters if each.name in FACTS]
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        asked += ["num_classes", "image_shape"] if len(parameters) == 1 else ["num_classes"]
    told = {each: FACTS[each](num_classes, image_shape) for each in asked if each not in options}
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD and each.name not in options
    ]
    if not told and len(needed) == 2:
        told = dict(zip(needed, (num_classes, image_shape), strict=True))
    try:
        made = factory(**told)
    except TypeError as error:
        raise ValueError(
            f"{name} cannot be called with {', '.join([*told, *options]) or 'nothing'}: {error}"
        ) from error
    if isinstance(made, ImageNetwork):
        return made
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name} gives no module but a {type(made).__name__}")
    return OwnNetwork(made, num_classes, image_shape)


def _called(factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Give what is called in the end: jsonargparse hands a class over as the last argument of functions of its own."""
    last = factory.args[-1] if isinstance(factory, functools.partial) and factory.args else None
    return cast("Callable[..., nn.Module]", last) if callable(last) else factory
