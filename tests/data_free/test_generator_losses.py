"""Losses of the adversarial step, by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from lightning_tasks.data_free.adversarial_loss import AdversarialL1Loss
from lightning_tasks.data_free.generator_losses import ClassBalanceLoss, SyntheticBatch


def balance(logits_t):
    """The loss of a batch of which only the teacher's answers matter."""
    return ClassBalanceLoss()(SyntheticBatch(torch.zeros(len(logits_t), 1, 2, 2), torch.zeros_like(logits_t), logits_t))


class TestAdversarialL1:
    def test_by_hand(self):
        loss = AdversarialL1Loss()(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 1.0]]))
        assert loss.item() == pytest.approx((1 + 2 + 0 + 1) / 4)

    def test_equals_the_authors_form(self):
        a, b = torch.randn(2, 16, 10)
        torch.testing.assert_close(AdversarialL1Loss()(a, b), F.l1_loss(a, b))

    def test_student_goes_down_and_generator_up(self):
        teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        x = torch.randn(8, 4, requires_grad=True)
        loss = AdversarialL1Loss()
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
        assert AdversarialL1Loss()(a, -a).item() == pytest.approx(200)

    def test_shapes_must_agree(self):
        with pytest.raises(ValueError, match="differ in shape"):
            AdversarialL1Loss()(torch.zeros(2, 10), torch.zeros(2, 100))


class TestClassBalance:
    def test_by_hand(self):
        even = torch.tensor([[50.0, 0.0], [0.0, 50.0]])  # two sure answers, one of each class
        assert balance(even).item() == pytest.approx(-math.log(2))
        uneven = torch.log(torch.tensor([[0.75, 0.25]]))
        assert balance(uneven).item() == pytest.approx(0.75 * math.log(0.75) + 0.25 * math.log(0.25))

    def test_one_class_is_the_worst_and_stays_finite(self):
        logits = torch.tensor([[200.0, 0.0, 0.0]] * 4, requires_grad=True)
        loss = balance(logits)
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert logits.grad.isfinite().all()

    def test_descent_evens_the_classes_out(self):
        torch.manual_seed(0)
        logits = (torch.randn(64, 5) + torch.tensor([3.0, 0, 0, 0, 0])).requires_grad_()
        before = balance(logits)
        (gradient,) = torch.autograd.grad(before, logits)
        assert balance(logits - 10 * gradient) < before
