"""A trained classifier that says which word a drawing shows."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lightning_tasks.drawings.render import render_all
from lightning_tasks.drawings.steps import to_drawing
from lightning_tasks.frozen_teacher import FrozenTeacher
from lightning_tasks.networks import NetworkCallable, build_teacher, cut_into_layers
from lightning_tasks.runs.checkpoints import find_checkpoint
from lightning_tasks.runs.data_spec import SketchDataSpec, require_equal
from lightning_tasks.runs.weights import read_checkpoint


class Recogniser:
    """A frozen classifier of rendered drawings, trained on drawings that the sketch network does not learn from.

    It is no module, since it is no part of the task that it judges.

    Args:
        network: Its architecture.
        source: See FrozenTeacher.load.
        data_spec: Specification of the drawings to be judged; words and splits must be those it was trained with.

    Attributes:
        run_facts: Identity of the recogniser, for the run card.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is of other words or other parts, or does not fit the network.
    """

    def __init__(self, network: NetworkCallable, source: str, data_spec: SketchDataSpec) -> None:
        path = find_checkpoint(source, "recogniser_ckpt")
        theirs = read_checkpoint(path, "recogniser_ckpt").get("data_spec", {})
        self._path, self._theirs = path, {name: theirs.get(name) for name in ("words", "parts")}
        self.require_apart(data_spec)
        self.size = theirs["image_shape"][1]
        self.mean, self.std = theirs["mean"][0], theirs["std"][0]
        shape = tuple(theirs["image_shape"])
        teacher = FrozenTeacher(build_teacher(network, theirs["num_classes"], shape, "logits"))
        loaded = teacher.load(str(path), "recogniser_ckpt", theirs)
        layers = cut_into_layers(teacher.network)
        self.start, self.end = nn.Sequential(*layers[:-1]), layers[-1]
        self.run_facts: dict[str, Any] = {
            name.replace("teacher", "recogniser"): value for name, value in loaded.items()
        }
        self.device = torch.device("cpu")

    def require_apart(self, data_spec: Mapping[str, Any]) -> None:
        """Refuse drawings of other words or other parts; of words in another order too, by which drawings are divided.

        Raises:
            ValueError: If they are.
        """
        ours = {name: data_spec[name] for name in self._theirs}
        require_equal(self._theirs, ours, f"recogniser_ckpt: {self._path} was trained")

    def to(self, device: torch.device) -> Self:
        """Move to where it is to compute."""
        self.start.to(device)
        self.end.to(device)
        self.device = device
        return self

    @torch.no_grad()
    def features(self, sketches: Sequence[np.ndarray]) -> Tensor:
        """Give what the last layer but one makes of steps (N, 3) of each drawing. Shape (B, D)."""
        images = torch.from_numpy(render_all([to_drawing(each) for each in sketches], self.size))
        x = (images[:, None].float() / 255 - self.mean) / self.std
        return torch.cat([self.start(each.to(self.device)).flatten(1) for each in x.split(500)])

    @torch.no_grad()
    def answer(self, features: Tensor) -> Tensor:
        """Say which word each drawing shows. Shape (B,)."""
        return self.end(features).argmax(dim=1)
