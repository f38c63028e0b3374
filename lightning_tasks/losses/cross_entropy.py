"""Cross-entropy, written out."""

import torch
from torch import Tensor, nn


class CrossEntropyLoss(nn.Module):
    """Cross-entropy between class scores and class numbers, with optional label smoothing.

    L = mean over the batch of -sum_c q_c log p_c, with p = softmax(logits) and q = 1 - s + s / C for the true class,
    s / C for the others (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7). With s = 0 that is
    -log p_y. Computed from log p = logits - logsumexp(logits), so that no probability can underflow, and always in
    float32, also under mixed precision.

    Args:
        label_smoothing: s above, in [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compare logits (B, num_classes) with labels (B,), int64; a scalar in nats.

        Raises:
            ValueError: If the shapes do not fit.
        """
        if logits.ndim != 2 or y.shape != logits.shape[:1]:
            raise ValueError(f"expected logits (B, num_classes) and labels (B,), got {logits.shape} and {y.shape}")
        log_p = logits.float().log_softmax(dim=1)
        loss = -log_p.gather(1, y[:, None]).mean()
        return torch.lerp(loss, -log_p.mean(), self.label_smoothing) if self.label_smoothing else loss
