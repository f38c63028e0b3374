"""Cross-entropy, written out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CrossEntropyLoss(nn.Module):
    """Cross-entropy between class scores and labels, with optional label smoothing and class weights.

    L = sum_i f_i w_i (-sum_c q_ic log p_ic) / sum_i f_i w_i with p = softmax(logits). For class numbers y, q_y = 1 - s
    + s / C and q_c = s / C for the others (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7);
    with s = 0 that is -log p_y. For soft labels, as MixUp makes them, q = (1 - s) y + s / C. Class weights v enter as
    v_c q_c; the mean is by w_i = v_{y_i} for class numbers and by w_i = 1 for soft labels, as in PyTorch. The factors f
    are 1 if not given. Computed from log p = logits - logsumexp(logits), so that no probability can underflow, and
    always in float32, also under mixed precision.

    Args:
        label_smoothing: s above, in [0, 1).
        class_weights: v above, one a class, none negative; all 1 if not given.

    Raises:
        ValueError: If an option is out of range.
    """

    class_weights: Tensor | None

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        if class_weights is not None and (min(class_weights, default=0) < 0 or max(class_weights, default=0) == 0):
            raise ValueError(f"class_weights must not be negative, and one above 0, got {list(class_weights)}")
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, y: Tensor, factors: Tensor | None = None) -> Tensor:
        """Compare logits (B, C) with class numbers (B,), int64, or soft labels (B, C) that sum to 1; a scalar in nats.

        Args:
            logits: See above.
            y: See above.
            factors: Weights of the samples, f above. Shape (B,).

        Raises:
            ValueError: If the shapes do not fit.
        """
        soft = y.shape == logits.shape
        if logits.ndim != 2 or not (soft or y.shape == logits.shape[:1]):
            raise ValueError(
                f"expected logits (B, C) and labels (B,) or (B, C), got {tuple(logits.shape)} and {tuple(y.shape)}"
            )
        weights = self.class_weights
        if weights is not None and len(weights) != logits.shape[1]:
            raise ValueError(f"class_weights: {len(weights)} of them for {logits.shape[1]} classes")
        negative_log_p = -logits.float().log_softmax(dim=1)
        if weights is not None:
            negative_log_p = negative_log_p * weights
        losses = (y * negative_log_p).sum(dim=1) if soft else negative_log_p.gather(1, y[:, None])[:, 0]
        if self.label_smoothing:
            losses = torch.lerp(losses, negative_log_p.mean(dim=1), self.label_smoothing)
        samples = torch.ones_like(losses) if soft or weights is None else weights[y]
        if factors is not None:
            losses, samples = losses * factors, samples * factors
        return losses.sum() / samples.sum()
