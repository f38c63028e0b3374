"""Cross-entropy with class weights and soft labels, by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from lightning_tasks.losses import CrossEntropyLoss


class TestCrossEntropy:
    def test_by_hand(self):
        logits = torch.tensor([[math.log(3.0), 0.0]])  # probabilities 3/4 and 1/4
        assert CrossEntropyLoss()(logits, torch.tensor([1])).item() == pytest.approx(math.log(4))

    def test_weights_and_soft_labels_by_hand(self):
        """Probabilities 3/4 and 1/4 in both rows; classes weigh 1 and 3."""
        logits = torch.tensor([[math.log(3.0), 0.0]] * 2)
        weighted = CrossEntropyLoss(class_weights=[1, 3])
        first, second = math.log(4 / 3), math.log(4)
        assert weighted(logits, torch.tensor([0, 1])).item() == pytest.approx((first + 3 * second) / 4)
        soft = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
        assert CrossEntropyLoss()(logits, soft).item() == pytest.approx((0.5 * first + 0.5 * second + first) / 2)
        assert weighted(logits, soft).item() == pytest.approx((0.5 * first + 1.5 * second + first) / 2)

    @pytest.mark.parametrize("soft", [False, True])
    @pytest.mark.parametrize("class_weights", [None, [0.5, 1, 2, 3, 0, 1, 1]])
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_equals_pytorchs(self, label_smoothing, class_weights, soft):
        logits = torch.randn(16, 7, requires_grad=True)
        y = torch.rand(16, 7).softmax(dim=1) if soft else torch.randint(7, (16,))
        weight = None if class_weights is None else torch.tensor(class_weights)
        ours = CrossEntropyLoss(label_smoothing, class_weights)(logits, y)
        theirs = F.cross_entropy(logits, y, weight, label_smoothing=label_smoothing)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
        gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)

    def test_great_logits_and_half_precision_stay_finite(self):
        logits = torch.tensor([[6e4, -6e4]], dtype=torch.float16)
        loss = CrossEntropyLoss()(logits, torch.tensor([1]))
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(1.2e5, rel=1e-3)

    def test_bad_shapes_and_options(self):
        with pytest.raises(ValueError, match="expected logits"):
            CrossEntropyLoss()(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
        with pytest.raises(ValueError, match="label_smoothing"):
            CrossEntropyLoss(1.0)
        for weights in ([1, -1, 1], [0, 0, 0], []):
            with pytest.raises(ValueError, match="class_weights must not be negative"):
                CrossEntropyLoss(class_weights=weights)
        with pytest.raises(ValueError, match="class_weights: 2 of them for 3 classes"):
            CrossEntropyLoss(class_weights=[1, 2])(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
