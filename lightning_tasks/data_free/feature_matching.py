"""Features of student and teacher on the same images."""

from collections.abc import Mapping

from torch import Tensor

from lightning_tasks.data_free.feature_loss import FeatureLoss, Hint
from lightning_tasks.networks import ImageNetwork, WithFeatures, are_parts, eval_mode, require_layers


def require_feature_layers(loss: FeatureLoss, student: ImageNetwork, teacher: ImageNetwork, compiled: bool) -> None:
    """Refuse layers that a network does not have, or that a compiled network does not show.

    Raises:
        ValueError: If there is one.
    """
    for role, network in (("student", student), ("teacher", teacher)):
        try:
            require_layers(loss.layers, [name for name, _ in network.inner.named_modules() if name])
        except ValueError as error:
            raise ValueError(f"feature_loss: {role}: {error}") from None
        if compiled and not are_parts(network, loss.layers):
            raise ValueError(
                f"feature_loss: {role}: with compile, layers must be parts that the network goes through one"
                " after the other, as the blocks of a ResNet; leave compile out"
            )


class FeatureMatching:
    """Answers images with a network's logits, and compares the features of both networks.

    Args:
        loss: Names the layers, and compares.
        student: Its layers must be final: `sync_batchnorm` replaces some when a fit starts.
        teacher: Frozen.
        compiled: Whether to compile what records features.
        channels: See FeatureLoss.hints; it may change.
    """

    def __init__(
        self,
        loss: FeatureLoss,
        student: ImageNetwork,
        teacher: ImageNetwork,
        compiled: bool,
        channels: Mapping[str, Tensor],
    ) -> None:
        self._loss = loss
        self._channels = channels
        self._student, self._teacher = (WithFeatures(network, loss.layers) for network in (student, teacher))
        if compiled:
            self._student.compile()
            self._teacher.compile()

    def measure(self, x: Tensor) -> None:
        """Find the shapes of the student's features, from two images (2, C, H, W)."""
        with eval_mode(self._student.network):
            features = self._student(x)[1]
        self._shapes = {layer: each.shape[1:] for layer, each in features.items()}

    def teacher(self, x: Tensor, batches: int) -> tuple[Tensor, list[Hint]]:
        """Give the teacher's logits of several batches (batches * B, C, H, W), and a hint for each batch."""
        logits, features = self._teacher(x)
        return logits, self._loss.hints(features, self._shapes, batches, self._channels)

    def student(self, x: Tensor, hint: Hint) -> tuple[Tensor, Tensor]:
        """Give the student's logits of a batch (B, C, H, W), and how far its features are from the hint, a scalar."""
        logits, features = self._student(x)
        return logits, self._loss.distance(features, hint)
