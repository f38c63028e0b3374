"""A trained network that only answers."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn

from lightning_tasks.networks import ImageNetwork, fold_batchnorm
from runs.checkpoints import file_hash, find_checkpoint, network_weights, read_checkpoint
from runs.facts import require_equal


class FrozenTeacher(nn.Module):
    """A network in eval mode whose weights stay as they were loaded; gradients pass through it to its input.

    Args:
        network: Its architecture.

    Attributes:
        network: With its BatchNorm layers, for losses that look at their statistics.
    """

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__()
        self.network = network
        self.fast: nn.Module = network
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.fast(x)

    def load(self, source: str, option: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Load trained weights, and say which they are.

        Args:
            source: A checkpoint of a classifier or of a student, a run's or an experiment's folder (see
                find_checkpoint), or a plain state dict of the network, whose data nobody can check.
            option: The option that names it, for the errors.
            facts: Of the present data, which must be those of the checkpoint.

        Returns:
            `teacher_ckpt`, the path; `teacher_sha256`, the file's hash.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, is of other data, or does not fit the network.
        """
        path = find_checkpoint(source, option)
        checkpoint = read_checkpoint(path, option)
        require_equal(checkpoint.get("facts"), facts, f"{option}: {path} was trained")
        try:
            self.network.load_state_dict(network_weights(checkpoint))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{option}: the weights in {path} do not fit the network: {reason}") from error
        self._fold()
        rank_zero_info(f"{option.removesuffix('_ckpt')}: {path}{_describe(checkpoint)}")
        return {"teacher_ckpt": str(path.resolve()), "teacher_sha256": file_hash(path)}

    def _fold(self) -> None:
        """Make the same function with fewer passes over the activations, where the network can be traced.

        torch.fx cannot follow a network that decides by its input; whatever comes of it is compared with the network.
        """
        try:
            folded = fold_batchnorm(self.network)
            x = torch.randn(2, *self.network.image_shape, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                torch.testing.assert_close(folded(x), self.network(x), rtol=1e-3, atol=1e-3)
            self.fast = folded
        except Exception as error:  # tracing fails in as many ways as there are networks; folding is speed only
            reason = " ".join(str(error).split())[:100]
            rank_zero_info(f"teacher: used as it is, since its BatchNorm cannot be folded ({reason})")


def _describe(checkpoint: dict[str, Any]) -> str:
    """Say of which experiment a checkpoint is, and how good."""
    facts = checkpoint.get("run", {})
    words = [facts["experiment"]] if "experiment" in facts else []
    words += [f"{name} {value:.2%}" for name, value in facts.get("validation", {}).items() if name == "val/acc"]
    return f" ({', '.join(words)})" if words else ""
