"""Networks that are none of this project's: any class or function that gives a module."""

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lightning_tasks.networks.base import ImageNetwork, ImageShape
from lightning_tasks.networks.eval_mode import eval_mode

# Names by which networks are told what the data are; what is not among them is for the config to set.
FACTORY_ARGS: dict[str, Callable[[int, ImageShape], Any]] = {
    **dict.fromkeys(("num_classes", "n_classes"), lambda classes, shape: classes),
    **dict.fromkeys(("image_shape", "input_shape"), lambda classes, shape: shape),
    **dict.fromkeys(("in_channels", "in_chans"), lambda classes, shape: shape[0]),
}
SMALLEST = torch.finfo(torch.float32).tiny  # of probabilities, whose logarithm is to be finite

Outputs = Literal["logits", "probabilities"]


class ExternalNetwork(ImageNetwork):
    """Any module that maps images (B, C, H, W) to logits (B, num_classes), as an ImageNetwork.

    It may give them as `logits` of a named tuple or a mapping, as torchvision's GoogLeNet and transformers do.

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
        self._takes_log = False
        self._try(torch.zeros(2, *image_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        outputs = _logits(self.module(x))
        return outputs.float().clamp_min(SMALLEST).log() if self._takes_log else outputs

    @property
    def inner(self) -> nn.Module:
        """The module."""
        return self.module

    def parts(self) -> list[nn.Module]:
        """Give the modules of a sequence, or the one."""
        return list(self.module) if isinstance(self.module, nn.Sequential) and not self._takes_log else [self]

    def gives_probabilities(self) -> bool:
        """Say whether it ends in softmax: no number of what it gives is negative, and each image's sum to 1."""
        outputs = self._try(torch.randn(4, *self.image_shape, generator=torch.Generator().manual_seed(0)))
        return bool((outputs >= 0).all() and ((outputs.float().sum(dim=1) - 1).abs() < 1e-3).all())

    def take_log(self) -> None:
        """Give the logarithm of what the module gives, which are logits where that are probabilities.

        Raises:
            ValueError: If it gives no probabilities.
        """
        if not self.gives_probabilities():
            raise ValueError(f"{self._name} gives no probabilities: some are negative, or an image's do not sum to 1")
        self._takes_log = True

    @property
    def _name(self) -> str:
        return type(self.module).__name__

    def _try(self, x: Tensor, training: bool = False) -> Tensor:
        """Give what it makes of images, in the shape that is asked for."""
        mode, shape, wanted = " in training mode" if training else "", tuple(x.shape), (len(x), self.num_classes)
        try:
            with torch.random.fork_rng([]), eval_mode(self, training):
                outputs = self(x)
        except Exception as error:  # whatever a module raises
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{self._name} cannot take images {shape}{mode}: {type(error).__name__}: {reason}"
            ) from error
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__} without logits"
        if got != wanted:
            raise ValueError(
                f"{self._name} maps images {shape}{mode} to {got}; the data have {self.num_classes} classes: {wanted}"
            )
        return outputs


def _logits(outputs: Any) -> Any:
    """Give the logits of what may hold them beside others."""
    if isinstance(outputs, Mapping):
        return outputs.get("logits", outputs)
    return getattr(outputs, "logits", outputs) if isinstance(outputs, tuple) else outputs


def build_network(
    factory: Callable[..., nn.Module] | nn.Module, num_classes: int, image_shape: ImageShape
) -> ImageNetwork:
    """Make a network that is to learn, and try it; see make_network.

    Warns of a network of one's own that ends in softmax: it would learn as if it gave logits.

    Raises:
        ValueError: See make_network; or it gives no logits in training mode.
    """
    network = make_network(factory, num_classes, image_shape)
    if isinstance(network, ExternalNetwork):
        network._try(torch.zeros(2, *image_shape), training=True)
        if network.gives_probabilities():
            warnings.warn(f"{_ends_in_softmax(network)}: take the softmax off, for a loss has its own", stacklevel=2)
    return network


def build_teacher(
    factory: Callable[..., nn.Module] | nn.Module, num_classes: int, image_shape: ImageShape, outputs: Outputs
) -> ImageNetwork:
    """Make a network that only answers; see make_network.

    Args:
        factory: See make_network.
        num_classes: See make_network.
        image_shape: See make_network.
        outputs: What it gives; of probabilities the logarithm is taken. Warns where they are taken for logits.

    Raises:
        ValueError: See make_network; or it gives no probabilities.
    """
    network = make_network(factory, num_classes, image_shape)
    if outputs == "probabilities":
        if not isinstance(network, ExternalNetwork):
            raise ValueError(f"teacher_outputs: {type(network).__name__} gives logits")
        try:
            network.take_log()
        except ValueError as error:
            raise ValueError(f"teacher_outputs: {error}") from None
    elif isinstance(network, ExternalNetwork) and network.gives_probabilities():
        warnings.warn(f"{_ends_in_softmax(network)}: give teacher_outputs: probabilities", stacklevel=2)
    return network


def _ends_in_softmax(network: ExternalNetwork) -> str:
    return f"{type(network.module).__name__} ends in softmax, and its probabilities are taken for logits"


def make_network(
    factory: Callable[..., nn.Module] | nn.Module, num_classes: int, image_shape: ImageShape
) -> ImageNetwork:
    """Make a network for the data.

    Args:
        factory: An ImageNetwork's class with its options; a module, which is copied; or anything else that gives a
            module when it is called. The latter is told what its parameters ask for by a name in FACTORY_ARGS; if they
            ask for nothing by these names, two that must be given are `num_classes` and `image_shape`, in this order.
            Whoever takes any keyword besides others, as `timm.create_model` does, is told `num_classes`; who takes
            nothing but keywords, as `lambda **facts: ...`, also `image_shape`.
        num_classes: Number of classes.
        image_shape: Channels, height and width of an image.

    Raises:
        ValueError: If it cannot be called so, or what it gives is no module or no network for these images.
    """
    if isinstance(factory, nn.Module):
        made = copy.deepcopy(factory)
        return made if isinstance(made, ImageNetwork) else ExternalNetwork(made, num_classes, image_shape)
    target = _called(factory)
    if inspect.isclass(target) and issubclass(target, ImageNetwork):
        return cast("ImageNetwork", factory(num_classes, image_shape))
    name = getattr(target, "__name__", str(target))
    parameters = inspect.signature(target).parameters.values()
    options = factory.keywords if isinstance(factory, functools.partial) else {}
    asked = [each.name for each in parameters if each.name in FACTORY_ARGS]
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        asked += ["num_classes", "image_shape"] if len(parameters) == 1 else ["num_classes"]
    told = {each: FACTORY_ARGS[each](num_classes, image_shape) for each in asked if each not in options}
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
    except ValueError as error:
        if options.get("weights") is None or "num_classes" not in str(error):
            raise
        raise ValueError(
            f"{name}: {options['weights']} is for other classes than the {num_classes} of the data ({error}); leave"
            " weights out: a classifier starts from them, but for its last layer, with network_ckpt:"
            " <Network>_Weights.<NAME>"
        ) from error
    if isinstance(made, ImageNetwork):
        return made
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name} gives no module but a {type(made).__name__}")
    return ExternalNetwork(made, num_classes, image_shape)


def _called(factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Give what is called in the end: jsonargparse hands a class over as the last argument of functions of its own."""
    last = factory.args[-1] if isinstance(factory, functools.partial) and factory.args else None
    return cast("Callable[..., nn.Module]", last) if callable(last) else factory
