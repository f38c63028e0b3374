"""Losses that know how bad a mistake is, against numbers by hand, plain loops and finite differences."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lightning_tasks.losses import CrossEntropyLoss
from lightning_tasks.multi_task.class_tree import least_severity
from lightning_tasks.multi_task.severity import (
    ExpectedSeverityLoss,
    HierarchicalLoss,
    SeverityScaledLoss,
    SoftLabelLoss,
    rows_of,
    severity_matrix,
)
from lightning_tasks.multi_task.uncertainty import UncertaintyWeighting

# Five classes: superclasses {0, 3}, {1}, {2, 4}; groups {0, 3, 1} and {2, 4}.
ANCESTORS = torch.tensor([[0, 1, 2, 0, 2], [0, 0, 1, 0, 1]])
COSTS = (1.0, 2.5, 7.0)
SEVERITY = torch.tensor(
    [
        [0.0, 2.5, 7.0, 1.0, 7.0],
        [2.5, 0.0, 7.0, 2.5, 7.0],
        [7.0, 7.0, 0.0, 7.0, 1.0],
        [1.0, 2.5, 7.0, 0.0, 7.0],
        [7.0, 7.0, 1.0, 7.0, 0.0],
    ]
)
hierarchical = partial(HierarchicalLoss, costs=COSTS)
KINDS = (SeverityScaledLoss, ExpectedSeverityLoss, SoftLabelLoss, hierarchical)


def test_the_matrix_by_hand():
    assert torch.equal(severity_matrix(ANCESTORS, COSTS), SEVERITY)


@pytest.mark.parametrize("costs", [(1, 2), (1, 2, 3, 4), (), (0, 1, 2), (-1, 2, 3), (1, 1, 2), (3, 2, 4), (1, 2, 2)])
def test_costs_that_are_not_increasing_or_too_few(costs):
    with pytest.raises(ValueError, match="costs must be 3 increasing numbers above 0"):
        severity_matrix(ANCESTORS, costs)


def test_scaled_by_hand():
    """Probabilities 3/4 and 1/4 twice, once right and once wrong at a cost of 5."""
    logits = torch.tensor([[math.log(3.0), 0.0]] * 2)
    severity = torch.tensor([[0.0, 9.0], [5.0, 0.0]])
    loss = SeverityScaledLoss(CrossEntropyLoss(), 0.5)(logits, torch.tensor([0, 1]), severity)
    assert loss.item() == pytest.approx((math.log(4 / 3) + (1 + 0.5 * 5) * math.log(4)) / (1 + 3.5))


def test_expected_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]] * 2)
    severity = torch.tensor([[0.0, 9.0], [5.0, 0.0]])
    loss = ExpectedSeverityLoss(CrossEntropyLoss(), 0.5)(logits, torch.tensor([0, 1]), severity)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2 + 0.5 * (9 / 4 + 5 * 3 / 4) / 2)


def test_soft_labels_by_hand():
    """Severities 0, 1 and 3, of which exp(-S / 0.5) are 1, e^-2 and e^-6."""
    severity = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 3.0], [3.0, 3.0, 0.0]])
    p = torch.tensor([[0.5, 0.3, 0.2]])
    loss = SoftLabelLoss(CrossEntropyLoss(), 0.5)(p.log(), torch.tensor([0]), severity)
    shares = [1, math.exp(-2), math.exp(-6)]
    expected = -sum(q * math.log(each) for q, each in zip(shares, (0.5, 0.3, 0.2), strict=True)) / sum(shares)
    assert loss.item() == pytest.approx(expected)


def test_hierarchical_by_hand():
    """Class 0 of 0.1, with its superclass 0.1 + 0.3, with its group 0.4 + 0.2; three edges up to the root."""
    p = torch.tensor([[0.1, 0.2, 0.15, 0.3, 0.25]])
    loss = hierarchical(CrossEntropyLoss(), 0.7)(p.log(), torch.tensor([0]), SEVERITY)
    weights = [math.exp(-0.7 * edges) for edges in (3, 2, 1)]
    terms = [-math.log(0.1 / 0.4), -math.log(0.4 / 0.6), -math.log(0.6)]
    expected = 3 / sum(weights) * sum(weight * term for weight, term in zip(weights, terms, strict=True))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_hierarchical_survives_logits_far_apart():
    logits = torch.tensor([[0.0, 0.0, 300.0, 0.0, 0.0]], requires_grad=True)
    loss = hierarchical(CrossEntropyLoss(), 0.7)(logits, torch.tensor([0]), SEVERITY)
    assert loss.item() > 300
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def plain(kind, logits, y, severity, weight, smoothing):
    """The loss as a loop over samples and classes, in float64; y are shares of the classes."""
    total, weights = 0.0, 0.0
    for row, shares in zip(logits.double(), y.double(), strict=True):
        log_p = row - torch.logsumexp(row, dim=0)
        target = (1 - smoothing) * shares + smoothing / len(row)
        cross_entropy = -sum(target[c] * log_p[c] for c in range(len(row)))
        cost = [sum(shares[k] * severity[k, c].double() for k in range(len(row))) for c in range(len(row))]
        if kind is SeverityScaledLoss:
            total += (1 + weight * cost[int(row.argmax())]) * cross_entropy
            weights += 1 + weight * cost[int(row.argmax())]
        else:
            weights += 1
        if kind is ExpectedSeverityLoss:
            total += cross_entropy + weight * sum(log_p[c].exp() * cost[c] for c in range(len(row)))
        elif kind is SoftLabelLoss:
            for k, c in itertools.product(range(len(row)), repeat=2):
                share = math.exp(-SEVERITY[k, c] / weight) / sum(math.exp(-each / weight) for each in SEVERITY[k])
                total -= shares[k] * ((1 - smoothing) * share + smoothing / len(row)) * log_p[c]
        elif kind is hierarchical:
            scales = [math.exp(-weight * edges) for edges in (3, 2, 1)]
            scales = [3 * each / sum(scales) for each in scales]
            total += scales[0] * cross_entropy
            for k in range(len(row)):
                inside = [[c for c in range(len(row)) if SEVERITY[k, c] <= cost] for cost in (0, *COSTS)]
                p = [log_p[each].exp().sum() for each in inside]  # of the class, its superclass, its group and the root
                for level in (1, 2):
                    total -= shares[k] * scales[level] * (p[level] / p[level + 1]).log()
                total += shares[k] * scales[0] * p[1].log()
    return total / weights


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_plain_form_with_its_gradient(kind, smoothing, soft):
    torch.manual_seed(0)
    logits = (3 * torch.randn(16, 5)).requires_grad_()
    y = torch.randint(5, (16,))
    shares = torch.rand(16, 5).softmax(dim=1) if soft else F.one_hot(y, 5).float()
    loss = kind(CrossEntropyLoss(smoothing), 0.7)(logits, shares if soft else y, SEVERITY)
    expected = plain(kind, logits, shares, SEVERITY, 0.7, smoothing)
    torch.testing.assert_close(loss.double(), expected, rtol=0, atol=1e-5)
    gradients = [torch.autograd.grad(each, logits)[0] for each in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_finite_differences(kind):
    """In float32, since the loss is computed so; steps of 0.01 move no sample over to another prediction."""
    torch.manual_seed(1)
    logits = (4 * torch.randn(6, 5)).requires_grad_()
    y = torch.randint(5, (6,))
    loss = kind(CrossEntropyLoss(0.1), 0.7)
    gradient = torch.autograd.grad(loss(logits, y, SEVERITY), logits)[0]
    with torch.no_grad():
        for row in range(6):
            for column in range(5):
                step = torch.zeros(6, 5)
                step[row, column] = 0.01
                slope = (loss(logits + step, y, SEVERITY) - loss(logits - step, y, SEVERITY)) / 0.02
                assert slope.item() == pytest.approx(gradient[row, column].item(), abs=1e-3)


def test_the_expected_severity_pushes_the_worse_of_two_wrong_classes_down():
    """Classes 3 (mild) and 2 (severe) are equally likely where 0 is right; the cross-entropy cannot tell them apart."""
    logits = torch.zeros(1, 5, requires_grad=True)
    y = torch.tensor([0])
    scaled = torch.autograd.grad(SeverityScaledLoss(CrossEntropyLoss(), 1.0)(logits, y, SEVERITY), logits)[0][0]
    assert scaled[2] == scaled[3] > 0
    p = 1 / 5
    mean = p * (2.5 + 7 + 1 + 7)
    only = torch.autograd.grad(ExpectedSeverityLoss(CrossEntropyLoss(), 1.0)(logits, y, SEVERITY), logits)[0][0]
    expected = [p - 1 + p * (0 - mean)] + [p + p * (cost - mean) for cost in (2.5, 7, 1, 7)]
    assert only.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_without_weight_it_is_the_cross_entropy(kind):
    logits, y = torch.randn(8, 5), torch.randint(5, (8,))
    assert torch.equal(kind(CrossEntropyLoss(0.1), 0.0)(logits, y, SEVERITY), CrossEntropyLoss(0.1)(logits, y))
    with pytest.raises(ValueError, match="severity_weight must not be negative, got -1"):
        kind(CrossEntropyLoss(), -1.0)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_under_mixed_precision(kind, soft):
    logits = (100 * torch.randn(32, 5)).bfloat16()
    y = torch.rand(32, 5).softmax(dim=1) if soft else torch.randint(5, (32,))
    loss = kind(CrossEntropyLoss(), 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(logits, y, SEVERITY)
    assert half.dtype == torch.float32
    assert half.isfinite()
    assert torch.equal(half, loss(logits.float(), y, SEVERITY))


def test_learned_weights_by_hand():
    weighting = UncertaintyWeighting(3)
    losses = torch.tensor([4.0, 2.0, 0.25])
    assert weighting(losses).item() == pytest.approx(6.25)  # all weigh 1 at first
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([0.0, math.log(2.0), math.log(0.5)]))
    assert weighting.weights.tolist() == pytest.approx([1, 0.5, 2])
    assert weighting(losses).item() == pytest.approx(4 + 1 + 0.5 + (math.log(2) + math.log(0.5)) / 2)


def test_learned_weights_tend_to_half_the_inverse_of_the_loss():
    weighting = UncertaintyWeighting(2)
    losses = torch.tensor([4.0, 0.25])
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
    assert weighting.weights.tolist() == pytest.approx([1 / 8, 2], rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_severities_that_were_cast_with_the_task(dtype):
    """In true half precision buffers are cast, and probabilities and soft labels stay in float32."""
    p = torch.eye(5)[[0, 3]]
    assert least_severity(p, SEVERITY.to(dtype)).tolist() == [0, 3]
    assert torch.equal(rows_of(p, SEVERITY.to(dtype)), SEVERITY[[0, 3]])
