"""The absolute difference of logits, by hand."""

import pytest
import torch
from torch.nn import functional as F

from lightning_tasks.data_free.logit_l1_loss import LogitL1Loss


class TestAdversarialL1:
    def test_by_hand(self):
        loss = LogitL1Loss()(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 1.0]]))
        assert loss.item() == pytest.approx((1 + 2 + 0 + 1) / 4)

    def test_equals_the_authors_form(self):
        a, b = torch.randn(2, 16, 10)
        torch.testing.assert_close(LogitL1Loss()(a, b), F.l1_loss(a, b))

    def test_student_goes_down_and_generator_up(self):
        teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        x = torch.randn(8, 4, requires_grad=True)
        loss = LogitL1Loss()
        before = loss(student(x), teacher(x))
        to_student = torch.autograd.grad(before, list(student.parameters()), retain_graph=True)
        to_images = torch.autograd.grad(-before, x)[0]
        with torch.no_grad():
            after_generator = loss(student(x - 0.01 * to_images), teacher(x - 0.01 * to_images))
            for parameter, gradient in zip(student.parameters(), to_student, strict=True):
                parameter -= 0.01 * gradient
            after_student = loss(student(x), teacher(x))
        assert after_student < before < after_generator

    def test_half_precision_is_summed_in_full(self):
        a = torch.full((4096, 100), 100.0, dtype=torch.float16)
        assert LogitL1Loss()(a, -a).item() == pytest.approx(200)

    def test_shapes_must_agree(self):
        with pytest.raises(ValueError, match="differ in shape"):
            LogitL1Loss()(torch.zeros(2, 10), torch.zeros(2, 100))
