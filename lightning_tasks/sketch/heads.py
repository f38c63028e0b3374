"""What a sketch network says of the next step of the pen: one offset, or a distribution of offsets."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StrokeHead(nn.Module):
    """Last layer of a sketch network: from features to the offset of the next step.

    Subclasses say how an offset is scored, in which unit, and drawn.

    Args:
        in_features: Length of a feature vector.
        out_features: Numbers that describe an offset.
    """

    unit: ClassVar[str]

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (..., in_features) to the numbers that describe an offset, (..., out_features), float32."""
        return self.linear(features).float()

    def score(self, described: Tensor, offsets: Tensor) -> Tensor:
        """Compare with the offsets (..., 2) that came; the less the better. Shape (...)."""
        raise NotImplementedError

    def sample(self, described: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
        """Choose offsets (..., 2)."""
        raise NotImplementedError


class RegressionHead(StrokeHead):
    """Says one offset, scored by its squared error: the mean over dx and dy.

    Where several ways go on, the best such answer is their mean, which is none of them: drawings made with it tend to
    stand still.

    Args:
        in_features: See StrokeHead.
    """

    unit = "squared std"

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 2)

    def score(self, described: Tensor, offsets: Tensor) -> Tensor:
        """Give the squared error. Shape (...)."""
        return (described - offsets.float()).square().mean(dim=-1)

    def sample(self, described: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
        """Give the one offset; there is nothing to draw by lot."""
        return described


class MixtureHead(StrokeHead):
    """Says a mixture of two-dimensional normal distributions, scored by the negative log-likelihood.

    Ha and Eck 2018, "A Neural Representation of Sketch Drawings", https://arxiv.org/abs/1704.03477, equations 3 to 6
    and 9; Graves 2013, https://arxiv.org/abs/1308.0850, equations 19 to 25. A temperature t divides the logits of the
    mixture and multiplies the variances (equation 8). Computed in float32 as log-sum-exp: no density underflows.

    Args:
        in_features: See StrokeHead.
        num_mixtures: Number of normal distributions.

    Raises:
        ValueError: If there is none.
    """

    unit = "nats"

    def __init__(self, in_features: int, num_mixtures: int = 20) -> None:
        if num_mixtures < 1:
            raise ValueError(f"num_mixtures must be at least 1, got {num_mixtures}")
        super().__init__(in_features, 6 * num_mixtures)

    def score(self, described: Tensor, offsets: Tensor) -> Tensor:
        """Give -log p(dx, dy), in nats. Shape (...)."""
        logits, mean, log_std, rho = _parts(described)
        x, y = ((offsets.float()[..., None, :] - mean) * (-log_std).exp()).unbind(-1)
        free = 1 - rho.square()
        distance = (x.square() + y.square() - 2 * rho * x * y) / free
        log_density = -distance / 2 - math.log(2 * math.pi) - log_std.sum(dim=-1) - free.log() / 2
        return -torch.logsumexp(logits.log_softmax(dim=-1) + log_density, dim=-1)

    def sample(self, described: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
        """Draw offsets (B, 2) from described (B, P)."""
        logits, mean, log_std, rho = _parts(described)
        chosen = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)
        mean, log_std = (each.take_along_dim(chosen[..., None], dim=-2).squeeze(-2) for each in (mean, log_std))
        rho = rho.take_along_dim(chosen, dim=-1)
        normal = torch.randn(mean.shape, generator=generator, device=mean.device)
        first, second = normal[..., :1], normal[..., 1:]
        correlated = torch.cat([first, rho * first + (1 - rho.square()).sqrt() * second], dim=-1)
        return mean + math.sqrt(temperature) * log_std.exp() * correlated


def _parts(described: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give logits (..., M), means (..., M, 2), logs of standard deviations (..., M, 2) and correlations (..., M)."""
    logits, mean_x, mean_y, std_x, std_y, rho = described.chunk(6, dim=-1)
    # Bounds that no drawing needs: a density of a single point would grow without end.
    log_std = torch.stack([std_x, std_y], dim=-1).clamp(-6.0, 4.0)
    return logits, torch.stack([mean_x, mean_y], dim=-1), log_std, 0.999 * rho.tanh()


def sample_pens(logits: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw states of the pen (B,) from logits (B, 3)."""
    return torch.multinomial(F.softmax(logits.float() / temperature, dim=-1), 1, generator=generator).squeeze(-1)
