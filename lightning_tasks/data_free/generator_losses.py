"""Further terms of the generator's loss, beside the disagreement of student and teacher: see objective.py."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightning_tasks.networks.channel_statistics import Statistics


class SyntheticBatch(NamedTuple):
    """A batch of synthetic images and what both networks say of it.

    Attributes:
        x: Images (B, C, H, W) in the space of normalised images.
        logits_s: Logits of the student (B, num_classes); None in the generator's pretraining, or if no loss needs them.
        logits_t: Logits of the teacher (B, num_classes).
        statistics: Batch statistics at the teacher's BatchNorm layers, if a loss asks for them.
        y: Classes (B,) that the generator was asked for, if it was.
        features: Input of the teacher's last linear layer (B, D), if a loss asks for it.
    """

    x: Tensor
    logits_s: Tensor | None
    logits_t: Tensor
    statistics: Statistics | None = None
    y: Tensor | None = None
    features: Tensor | None = None


class GeneratorLoss(nn.Module):
    """A further term of the generator's loss.

    A subclass has a `name`, under which it is logged, and maps a batch of SyntheticBatch to a scalar.

    Args:
        weight: With which it enters the generator's loss; not negative.

    Attributes:
        needs_statistics: Whether it looks at `statistics`.
        needs_features: Whether it looks at `features`.
        needs_student: Whether it looks at `logits_s`; it is then left out while the generator is pretrained.

    Raises:
        ValueError: If the weight is negative.
    """

    name: ClassVar[str]
    needs_statistics: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    needs_student: ClassVar[bool] = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight must not be negative, got {weight}")
        self.weight = weight


class ClassBalanceLoss(GeneratorLoss):
    """Negative entropy of the classes that a teacher sees in a batch of synthetic images.

    The information entropy loss of Chen et al. 2019, "Data-Free Learning of Student Networks",
    https://arxiv.org/abs/1904.01186: with p the mean of the softmax outputs over the batch, sum_c p_c log p_c. It is
    least, -log(num_classes), when all classes are equally frequent. Always in float32, also under mixed precision.

    Args:
        weight: With which it enters the generator's loss.
    """

    name = "balance"

    def forward(self, batch: SyntheticBatch) -> Tensor:
        """Compute the loss from the teacher's logits; a scalar in nats."""
        # In logarithms, since p log p has no gradient at a p that has underflowed to 0: a collapse would give nan.
        log_p = batch.logits_t.float().log_softmax(dim=1).logsumexp(dim=0) - math.log(len(batch.x))
        return (log_p.exp() * log_p).sum()


class OneHotLoss(GeneratorLoss):
    """Cross-entropy of the teacher's answers with the class that was asked for, else the one that it finds likeliest.

    The generator then makes images of which the teacher is sure.

    The one-hot loss of Chen et al. 2019, "Data-Free Learning of Student Networks", https://arxiv.org/abs/1904.01186,
    equation 5. Always in float32, also under mixed precision.

    Args:
        weight: With which it enters the generator's loss.
    """

    name = "one_hot"

    def forward(self, batch: SyntheticBatch) -> Tensor:
        """Compute the loss from the teacher's logits; a scalar in nats."""
        return F.cross_entropy(batch.logits_t.float(), classes_of(batch))


class BatchNormStatisticsLoss(GeneratorLoss):
    """Distance of a batch from the training images, as the teacher's BatchNorm layers remember them.

    Yin et al. 2020, "Dreaming to distill", https://arxiv.org/abs/1912.08795, equation 4: the sum over layers of
    ||m_l - kept m_l||_2 + ||v_l - kept v_l||_2 with mean and variance of each channel of the layer's input. Always in
    float32, also under mixed precision.

    Args:
        weight: With which it enters the generator's loss.
    """

    name = "statistics"
    needs_statistics = True

    def forward(self, batch: SyntheticBatch) -> Tensor:
        """Sum the distances of all layers; a scalar in the units of activations."""
        found = batch.statistics
        assert found is not None
        means = _Norms.apply(found.mean - found.kept_mean, found.sizes)
        variances = _Norms.apply(found.variance - found.kept_variance, found.sizes)
        return (means + variances).sum()


class _Norms(torch.autograd.Function):
    """The Euclidean norm of each part of a vector, whose sizes are given; of dozens of layers with few operators."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Sequence[int]) -> Tensor:
        norms = torch.stack(torch._foreach_norm(x.split(sizes)))
        ctx.save_for_backward(x, norms)
        ctx.sizes = sizes
        return norms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, norms = ctx.saved_tensors
        norms, gradient = (
            torch.cat([each.expand(size) for each, size in zip(values.unbind(), ctx.sizes, strict=True)])
            for values in (norms, gradient)
        )
        return gradient * (x / norms).masked_fill_(norms == 0, 0), None


class ActivationLoss(GeneratorLoss):
    """Negative mean size of the teacher's features: real images excite its filters more than others do.

    The activation loss of Chen et al. 2019, "Data-Free Learning of Student Networks", https://arxiv.org/abs/1904.01186,
    equation 6, -||f||_1 of each image, over the number of features too, as in the authors' code. The features are what
    the last linear layer is given. Always in float32, also under mixed precision.

    Args:
        weight: With which it enters the generator's loss.
    """

    name = "activation"
    needs_features = True

    def forward(self, batch: SyntheticBatch) -> Tensor:
        """Compute the loss from the teacher's features; a scalar in the units of activations."""
        assert batch.features is not None
        return -batch.features.float().abs().mean()


class DiversityLoss(GeneratorLoss):
    """Negative distance of synthetic images of the same class from each other, in the teacher's features.

    Without it a generator that is asked for classes soon makes one image of each, whatever the noise. After the mode
    seeking term of Mao et al. 2019, "Mode seeking generative adversarial networks", https://arxiv.org/abs/1903.05628,
    equation 4, with all pairs of a batch in place of two batches: L = -mean min(1 - cos(f_i, f_j), enough) over pairs
    i, j with y_i = y_j, where f is what the teacher's last linear layer is given; 0 without such pairs. Classes are
    those that were asked for, else those that the teacher sees. Always in float32, also under mixed precision.

    Args:
        weight: With which it enters the generator's loss.
        enough: Distance beyond which a pair gains no more, in (0, 2].

    Raises:
        ValueError: If an option is out of range.
    """

    name = "diversity"
    needs_features = True

    def __init__(self, weight: float = 5.0, enough: float = 0.25) -> None:
        super().__init__(weight)
        if not 0 < enough <= 2:
            raise ValueError(f"enough must be in (0, 2], got {enough}")
        self.enough = enough

    def forward(self, batch: SyntheticBatch) -> Tensor:
        """Compute the loss from the teacher's features; a scalar in [-enough, 0]."""
        assert batch.features is not None
        return -same_class_distance(batch.features, classes_of(batch), self.enough)


def classes_of(batch: SyntheticBatch) -> Tensor:
    """Give the classes (B,) that the generator was asked for, else those that the teacher finds likeliest."""
    return batch.logits_t.argmax(dim=1) if batch.y is None else batch.y


def same_class_distance(features: Tensor, y: Tensor, at_most: float = 2.0) -> Tensor:
    """Compute the mean of min(1 - cosine, at_most) over all pairs of images of one class; 0 without pairs.

    Args:
        features: Features of images. Shape (B, D).
        y: Their classes (B,).
        at_most: Greatest distance that counts.

    Returns:
        A scalar in float32.
    """
    unit = F.normalize(features.float(), dim=1)
    pairs = torch.triu(y[:, None] == y, diagonal=1)
    distances = (1 - unit @ unit.T).clamp(max=at_most)
    return (distances * pairs).sum() / pairs.sum().clamp(min=1)
