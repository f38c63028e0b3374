"""Losses that know how bad a mistake is.

A severity matrix S (C, C) holds what it costs to answer column c where row y is right: 0 on the diagonal, more the
further apart the two classes are in their tree.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_tasks.losses.cross_entropy import CrossEntropyLoss


def severity_matrix(ancestors: Tensor, costs: Sequence[float]) -> Tensor:
    """Compute what each mistake costs from how near the two classes are in their tree.

    Args:
        ancestors: Group of each class at each level, nearest first. Shape (L, C), int64.
        costs: Cost of a mistake within the nearest level, within the next, ..., across all. Length L + 1, above 0 and
            increasing.

    Returns:
        S[y, c], 0 for y = c. Shape (C, C).

    Raises:
        ValueError: If the costs are not so.
    """
    require_costs(costs, len(ancestors) + 1)
    num_classes = ancestors.shape[1]
    severity = torch.full((num_classes, num_classes), float(costs[-1]), device=ancestors.device)
    for level, cost in reversed(list(zip(ancestors, costs, strict=False))):
        severity[level[:, None] == level] = cost
    return severity.fill_diagonal_(0)


def require_costs(costs: Sequence[float], count: int) -> None:
    """Refuse costs that are too few or many, not above 0 or not increasing."""
    if len(costs) != count or not all(low < high for low, high in zip((0, *costs), costs, strict=False)):
        raise ValueError(
            f"costs must be {count} increasing numbers above 0, of mistakes from near to far, got {list(costs)}"
        )


class SeverityLoss(nn.Module):
    """Cross-entropy that knows how severe a mistake is; subclasses say how, by a severity matrix.

    Always in float32, also under mixed precision.

    Args:
        cross_entropy: CE of the subclasses.
        weight: With which the severity enters, not negative; 0 leaves the cross-entropy.

    Raises:
        ValueError: If the weight is negative.
    """

    def __init__(self, cross_entropy: CrossEntropyLoss, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"severity_weight must not be negative, got {weight}")
        self.cross_entropy = cross_entropy
        self.weight = weight

    def forward(self, logits: Tensor, y: Tensor, severity: Tensor) -> Tensor:
        """Compare logits (B, C) with labels (B,) or soft labels (B, C) by severities (C, C); a scalar in nats."""
        raise NotImplementedError


class SeverityScaledLoss(SeverityLoss):
    """Cross-entropy of each sample, scaled by the severity of what is predicted for it now.

    L = sum_i f_i CE_i / sum_i f_i with f_i = 1 + weight S[y_i, argmax_c logits_ic], as the courses ask for; divided by
    the sum of the factors, so that the gradient does not grow with them: at first nearly all images are mistaken, and
    a learning rate that suits the cross-entropy would be four times too high. The factor has no gradient: it does not
    say which wrong class would be milder. It is a cross-entropy with weights that move to the samples which are badly
    mistaken at the moment, so it optimises the probability of the right class there. Of soft labels q the severity is
    sum_k q_k S[k, argmax].

    Args:
        cross_entropy: See SeverityLoss.
        weight: See SeverityLoss.
    """

    def forward(self, logits: Tensor, y: Tensor, severity: Tensor) -> Tensor:
        """Compare logits (B, C) with labels (B,) or soft labels (B, C) by severities (C, C); a scalar in nats."""
        predicted = logits.detach().argmax(dim=1)
        scale = 1 + self.weight * rows_of(y, severity).gather(1, predicted[:, None])[:, 0]
        return self.cross_entropy(logits, y, scale)


class ExpectedSeverityLoss(SeverityLoss):
    """Cross-entropy, and the severity that is to be expected if a class is drawn from the predicted probabilities.

    L = CE + weight 1/B sum_i sum_c p_ic S[y_i, c] with p = softmax(logits). The second term is the risk that a decision
    by p takes; it is differentiable, and its gradient p_c (S[y, c] - sum_k p_k S[y, k]) lowers the classes that are
    worse than the present mean and raises the milder ones. Alone it would be least where all probability is on the
    class of least risk, and says nothing of how sure to be; the cross-entropy keeps the probabilities those of the
    classes. Of soft labels q the severity of c is sum_k q_k S[k, c].

    Args:
        cross_entropy: See SeverityLoss.
        weight: See SeverityLoss; nats for a unit of severity.
    """

    def forward(self, logits: Tensor, y: Tensor, severity: Tensor) -> Tensor:
        """Compare logits (B, C) with labels (B,) or soft labels (B, C) by severities (C, C); a scalar in nats."""
        expected = (logits.float().softmax(dim=1) * rows_of(y, severity)).sum(dim=1)
        return self.cross_entropy(logits, y) + self.weight * expected.mean()


class SoftLabelLoss(SeverityLoss):
    """Cross-entropy with soft labels that give milder wrong classes more probability.

    Bertinetto et al. 2020, "Making Better Mistakes: Leveraging Class Hierarchies with Deep Networks",
    https://arxiv.org/abs/1912.09393, section 3.2: q_c = exp(-S[y, c] / weight) / sum_k exp(-S[y, k] / weight). The
    weight is max(S) / beta with the paper's beta, which lies between 4 and 30. Soft labels average q over the classes.

    Args:
        cross_entropy: See SeverityLoss.
        weight: See SeverityLoss; in units of severity.
    """

    def forward(self, logits: Tensor, y: Tensor, severity: Tensor) -> Tensor:
        """Compare logits (B, C) with labels (B,) or soft labels (B, C) by severities (C, C); a scalar in nats."""
        if self.weight == 0:
            return self.cross_entropy(logits, y)
        return self.cross_entropy(logits, rows_of(y, (-severity.float() / self.weight).softmax(dim=1)))


class HierarchicalLoss(SeverityLoss):
    """Cross-entropy factored along the path from the root to the class, with larger weights near the root.

    Bertinetto et al. 2020, see SoftLabelLoss, section 3.1: with A_0 = y and A_1, A_2, ... its ancestors up to the root,
    L = -sum_l w_l log p(A_l | A_{l+1}), and w_l in proportion to exp(-weight d_l), where d_l is the number of edges
    from the root to A_l. The weights are scaled to a mean of 1, so that 0 leaves the cross-entropy. Soft
    labels average L over the classes.

    Args:
        cross_entropy: See SeverityLoss; gives the term of A_0.
        weight: See SeverityLoss; alpha in the paper, between 0.1 and 0.9 there.
        costs: Severity of a mistake within A_1, within A_2, ...; the last is that of a mistake across all.
    """

    def __init__(self, cross_entropy: CrossEntropyLoss, weight: float, costs: Sequence[float]) -> None:
        super().__init__(cross_entropy, weight)
        raw = [math.exp(-weight * depth) for depth in range(len(costs), 0, -1)]
        weights = [each * len(raw) / sum(raw) for each in raw]
        # sum_l w_l (log p(A_l) - log p(A_{l+1})) = w_0 log p(A_0) + sum_l (w_l - w_{l-1}) log p(A_l), as p(root) = 1
        self.class_weight = weights[0]
        self.rises = [(cost, high - low) for cost, low, high in zip(costs, weights, weights[1:], strict=False)]

    def forward(self, logits: Tensor, y: Tensor, severity: Tensor) -> Tensor:
        """Compare logits (B, C) with labels (B,) or soft labels (B, C) by severities (C, C); a scalar in nats."""
        loss = self.class_weight * self.cross_entropy(logits, y)
        if self.weight == 0:
            return loss
        log_p = logits.float().log_softmax(dim=1)[:, None]
        rows = severity[y][:, None] if y.ndim == 1 else severity[None]  # (B, 1, C), or those of all classes (1, C, C)
        for cost, rise in self.rises:
            log_p_ancestor = log_p.masked_fill(rows > cost, -torch.inf).logsumexp(dim=2)  # (B, 1) or (B, C)
            of_samples = log_p_ancestor[:, 0] if y.ndim == 1 else (y * log_p_ancestor).sum(dim=1)
            loss = loss - rise * of_samples.mean()
        return loss


def rows_of(y: Tensor, matrix: Tensor) -> Tensor:
    """Give the row of a matrix (C, C) for each label; what each answer would cost, if it is a severity matrix.

    Args:
        y: Labels (B,), int64, or soft labels (B, C), which get the mean of the rows.
        matrix: Shape (C, C).

    Returns:
        Shape (B, C).
    """
    if y.ndim == 1:
        return matrix[y]
    with torch.autocast(y.device.type, enabled=False):  # else a product in half precision
        return y.float() @ matrix.float()
