"""Losses of distillation: numbers by hand, plain forms in float64, and where half precision breaks others."""

import math

import pytest
import torch

from lightning_tasks.losses import DecoupledLoss, HintonLoss

KINDS = (HintonLoss, DecoupledLoss)


def test_hinton_by_hand():
    """At T = 2 the student says 3/4 and 1/4, the teacher 1/2 twice; the second image agrees."""
    logits_s = torch.tensor([[2 * math.log(3.0), 0.0], [1.0, 5.0]])
    logits_t = torch.tensor([[7.0, 7.0], [1.0, 5.0]])
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    loss = HintonLoss(temperature=2.0)(logits_s, logits_t, torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(4 * divergence / 2, abs=1e-6)


def test_decoupled_by_hand():
    """Three classes, the right one is 1: teacher 1/2, 1/4, 1/4 and student 1/4, 1/2, 1/4."""
    logits_t, logits_s = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.5, 0.25]]).log()
    right = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    others = 2 / 3 * math.log((2 / 3) / 0.5) + 1 / 3 * math.log((1 / 3) / 0.5)
    loss = DecoupledLoss(temperature=1.0, alpha=2.0, beta=5.0)(logits_s, logits_t, torch.tensor([1]))
    assert loss.item() == pytest.approx(2 * right + 5 * others, abs=1e-6)


def plain(kind, logits_s, logits_t, y, temperature, standardise):
    """The equations as loops over images and classes, in float64."""
    total = 0.0
    for s, t, label in zip(logits_s.double(), logits_t.double(), y.tolist(), strict=True):
        if standardise:
            s, t = ((each - each.mean()) / (each.var(correction=0) + 1e-6).sqrt() for each in (s, t))
        p_s, p_t = (torch.softmax(each / temperature, dim=0) for each in (s, t))
        rest = [c for c in range(len(s)) if c != label]
        if kind is HintonLoss:
            total += sum(p_t[c] * (p_t[c] / p_s[c]).log() for c in range(len(s)))
        else:
            wrong_s, wrong_t = sum(p_s[c] for c in rest), sum(p_t[c] for c in rest)
            total += p_t[label] * (p_t[label] / p_s[label]).log() + wrong_t * (wrong_t / wrong_s).log()
            total += 8 * sum(p_t[c] / wrong_t * (p_t[c] / wrong_t / (p_s[c] / wrong_s)).log() for c in rest)
    return temperature**2 * total / len(y)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_plain_form_with_its_gradient(kind, temperature, standardise):
    torch.manual_seed(0)
    logits_s, logits_t = (2 * torch.randn(9, 7)).requires_grad_(), 2 * torch.randn(9, 7)
    y = torch.randint(7, (9,))
    ours = kind(temperature, standardise=standardise)(logits_s, logits_t, y)
    expected = plain(kind, logits_s, logits_t, y, temperature, standardise)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(each, logits_s)[0] for each in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_hinton_is_decoupled_with_the_teacher_s_doubt_as_beta():
    """Equation 5 of the paper, for one image: KD = TCKD + (1 - p of the right class) NCKD."""
    torch.manual_seed(0)
    logits_s, logits_t, y = torch.randn(1, 5), torch.randn(1, 5), torch.tensor([3])
    doubt = 1 - logits_t.softmax(dim=1)[0, 3].item()
    decoupled = DecoupledLoss(1.0, alpha=1.0, beta=doubt)(logits_s, logits_t, y)
    torch.testing.assert_close(decoupled, HintonLoss(1.0)(logits_s, logits_t, y))


@pytest.mark.parametrize("kind", KINDS)
def test_standardised_logits_lose_their_size(kind):
    torch.manual_seed(0)
    logits_s, logits_t, y = torch.randn(6, 5), torch.randn(6, 5), torch.randint(5, (6,))
    loss = kind(2.0, standardise=True)
    torch.testing.assert_close(
        loss(logits_s, logits_t, y), loss(30 * logits_s + 7, logits_t / 5, y), rtol=1e-3, atol=1e-4
    )
    assert loss(3 * logits_t - 1, logits_t, y).item() == pytest.approx(0, abs=1e-4)


EXTREMES = {
    "great": (torch.tensor([[1e4, -1e4, 0.0, 5.0]]), torch.tensor([[-1e4, 1e4, 0.0, 5.0]])),
    "constant": (torch.full((1, 4), 3.0), torch.full((1, 4), -2.0)),
    "constant student": (torch.zeros(1, 4), torch.tensor([[1e4, -1e4, 0.0, 5.0]])),
    "one sure": (torch.tensor([[0.0, 0.0, 0.0, 0.0]]), torch.tensor([[50.0, -50.0, -50.0, -50.0]])),
    "equal": (torch.tensor([[1e4, -1e4, 0.0, 5.0]]), torch.tensor([[1e4, -1e4, 0.0, 5.0]])),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", EXTREMES)
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_finite_in_every_precision(kind, standardise, case, dtype):
    for temperature in (0.5, 1.0, 4.0, 20.0):
        for label in range(4):
            logits_s, logits_t = (each.to(dtype) for each in EXTREMES[case])
            logits_s = logits_s.detach().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
                loss = kind(temperature, standardise=standardise)(logits_s, logits_t, torch.tensor([label]))
            assert loss.dtype == torch.float32
            assert loss.isfinite()
            loss.backward()
            assert logits_s.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_logits_give_the_float32_loss_of_what_they_hold(kind):
    torch.manual_seed(0)
    logits_s, logits_t, y = (
        (5 * torch.randn(64, 40)).bfloat16(),
        (5 * torch.randn(64, 40)).half(),
        torch.randint(40, (64,)),
    )
    loss = kind(4.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(logits_s, logits_t, y)
    torch.testing.assert_close(half, loss(logits_s.float(), logits_t.float(), y), rtol=1e-6, atol=0)


def test_bad_options_and_shapes():
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            HintonLoss(temperature)
    with pytest.raises(ValueError, match="alpha and beta must not be negative"):
        DecoupledLoss(beta=-1.0)
    y = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="expected logits"):
        HintonLoss()(torch.zeros(2, 3), torch.zeros(2, 4), y)
    with pytest.raises(ValueError, match="expected logits"):
        HintonLoss()(torch.zeros(3, 3), torch.zeros(3, 3), y)
    with pytest.raises(ValueError, match="MixUp and CutMix have two"):
        DecoupledLoss()(torch.zeros(2, 3), torch.zeros(2, 3), torch.full((2, 3), 1 / 3))
