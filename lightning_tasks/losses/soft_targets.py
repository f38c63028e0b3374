"""Losses of a student against the logits of its teacher on the same images."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SoftTargetLoss(nn.Module):
    """Distance of a student's answers from its teacher's, softened by a temperature; subclasses say which.

    Always in float32, also under mixed precision: softened probabilities of 1e-8 are 0 in half precision.

    Args:
        temperature: T, by which logits are divided; above 0.
        standardise: Bring the logits of each image to mean 0 and standard deviation 1 before (Sun et al. 2024, "Logit
            standardization in knowledge distillation", https://arxiv.org/abs/2403.01427, algorithm 1): the student
            need not have the size of the teacher's logits, only their order and proportions.

    Raises:
        ValueError: If the temperature is not above 0.
    """

    def __init__(self, temperature: float = 4.0, standardise: bool = False) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature
        self.standardise = standardise

    def forward(self, logits_s: Tensor, logits_t: Tensor, y: Tensor) -> Tensor:
        """Compare logits of student and teacher, each (B, C), on images of classes y (B,); a scalar.

        Raises:
            ValueError: If the shapes do not fit.
        """
        if logits_s.shape != logits_t.shape or logits_s.ndim != 2 or len(y) != len(logits_s):
            shapes = ", ".join(str(tuple(each.shape)) for each in (logits_s, logits_t, y))
            raise ValueError(f"expected logits (B, C) of student and teacher and labels (B,), got {shapes}")
        return self.distance(self._soften(logits_s), self._soften(logits_t), y) * self.temperature**2

    def distance(self, logits_s: Tensor, logits_t: Tensor, y: Tensor) -> Tensor:
        """Compare softened logits, each (B, C) in float32; a scalar in nats."""
        raise NotImplementedError

    def _soften(self, logits: Tensor) -> Tensor:
        logits = logits.float()
        if self.standardise:
            # The variance of equal logits is 0, and its root there has no gradient.
            variance, mean = torch.var_mean(logits, dim=1, keepdim=True, correction=0)
            logits = (logits - mean) / (variance + 1e-6).sqrt()
        return logits / self.temperature


class HintonLoss(SoftTargetLoss):
    """Knowledge distillation: L = T^2 / B sum_i KL(softmax(t_i / T) || softmax(s_i / T)) with logits t and s.

    Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", https://arxiv.org/abs/1503.02531,
    section 2: the factor T^2 keeps the size of the gradient over temperatures. The mean is over images, not over
    images and classes.

    Args:
        temperature: See SoftTargetLoss.
        standardise: See SoftTargetLoss.
    """

    def distance(self, logits_s: Tensor, logits_t: Tensor, y: Tensor) -> Tensor:
        """Compute the mean divergence; the labels do not matter."""
        return _divergence(logits_s.log_softmax(dim=1), logits_t.log_softmax(dim=1))


class DecoupledLoss(SoftTargetLoss):
    """Decoupled distillation: L = T^2 / B sum_i (alpha KL(b_t || b_s) + beta KL(q_t || q_s)).

    Zhao et al. 2022, "Decoupled knowledge distillation", https://arxiv.org/abs/2203.08679, equation 7. b are the two
    probabilities of the right class and of all others together, q those of the others among themselves: in Hinton's
    loss beta is 1 - b_t of the right class, so a teacher that is sure teaches little about the others. All in
    logarithms: the authors' code takes the logarithm of a sum of probabilities that underflows.

    Args:
        temperature: See SoftTargetLoss.
        alpha: Weight of the right class against the others; not negative.
        beta: Weight of the others among themselves; not negative.
        standardise: See SoftTargetLoss.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self, temperature: float = 4.0, alpha: float = 1.0, beta: float = 8.0, standardise: bool = False
    ) -> None:
        super().__init__(temperature, standardise)
        if min(alpha, beta) < 0:
            raise ValueError(f"alpha and beta must not be negative, got {alpha} and {beta}")
        self.alpha = alpha
        self.beta = beta

    def distance(self, logits_s: Tensor, logits_t: Tensor, y: Tensor) -> Tensor:
        """Compute both divergences; labels must be class numbers.

        Raises:
            ValueError: If labels are soft.
        """
        if y.ndim != 1:
            raise ValueError("DecoupledLoss needs the right class of each image, and MixUp and CutMix have two")
        right_s, others_s = _apart(logits_s, y)
        right_t, others_t = _apart(logits_t, y)
        return self.alpha * _divergence(right_s, right_t) + self.beta * _divergence(
            others_s.log_softmax(dim=1), others_t.log_softmax(dim=1)
        )


def _apart(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Give log probabilities of right and wrong (B, 2), and the logits of the wrong classes (B, C - 1)."""
    numbers = torch.arange(logits.shape[1] - 1, device=y.device)
    others = logits.gather(1, numbers + (numbers >= y[:, None]))  # all but y; a mask would let the host wait
    right = logits.gather(1, y[:, None])
    return torch.cat([right, others.logsumexp(dim=1, keepdim=True)], dim=1).log_softmax(dim=1), others


def _divergence(log_p_s: Tensor, log_p_t: Tensor) -> Tensor:
    """Compute the mean over rows of KL(p_t || p_s) from log probabilities, each (B, C); a scalar in nats."""
    return F.kl_div(log_p_s, log_p_t, reduction="batchmean", log_target=True)
