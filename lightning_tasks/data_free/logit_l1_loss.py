"""The absolute difference of student and teacher logits, which the student minimises and the generator maximises."""

from torch import Tensor, nn


class LogitL1Loss(nn.Module):
    """Mean absolute difference of student and teacher logits (model discrepancy).

    The discrepancy of Fang et al. 2019, "Data-Free Adversarial Distillation", https://arxiv.org/abs/1912.11006, as in
    the authors' code: the mean over batch and classes, on raw logits. The student minimises it, the generator maximises
    it, so the generator's loss is its negative. Always in float32, also under mixed precision.
    """

    def forward(self, logits_s: Tensor, logits_t: Tensor) -> Tensor:
        """Compare logits of both networks, each (B, num_classes); a scalar in logit units.

        The teacher's logits come without gradient in the student's turn; in the generator's they keep it, since the
        generator learns through the frozen teacher too.

        Raises:
            ValueError: If the shapes differ.
        """
        if logits_s.shape != logits_t.shape:
            raise ValueError(f"student and teacher logits differ in shape: {logits_s.shape} and {logits_t.shape}")
        return (logits_s.float() - logits_t.float()).abs().mean()
