"""Losses of the generator, by hand."""

import math
import weakref

import pytest
import torch
from torch import nn

from lightning_tasks import ActivationLoss, BatchNormStatisticsLoss, DiversityLoss, OneHotLoss
from lightning_tasks.data_free.generator_losses import ClassBalanceLoss, SyntheticBatch
from lightning_tasks.frozen_teacher import FrozenTeacher
from lightning_tasks.networks.channel_statistics import Statistics


class TestLosses:
    def invented(self, logits_t, statistics=None):
        return SyntheticBatch(torch.zeros(len(logits_t), 1, 2, 2), logits_t, logits_t, statistics)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_one_hot(self, dtype):
        logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.5, 2.0]], dtype=dtype)
        p = logits.float().softmax(1)
        expected = -(p[0, 0].log() + p[1, 2].log()) / 2
        loss = OneHotLoss()(self.invented(logits))
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected)

    def test_statistics_by_hand(self):
        """Two layers: differences of means (3, 4) and of variances (0, 0), then (0,) and (2,)."""
        mean, variance = (torch.tensor(each, requires_grad=True) for each in ([3.0, 4.0, 1.0], [1.0, 1.0, 5.0]))
        kept = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 3.0])
        loss = BatchNormStatisticsLoss()(self.invented(torch.zeros(2, 3), Statistics(mean, variance, *kept, [2, 1])))
        assert loss.item() == 5 + 2
        loss.backward()  # of a norm: the direction; 0 where it is 0
        torch.testing.assert_close(mean.grad, torch.tensor([0.6, 0.8, 0.0]))
        torch.testing.assert_close(variance.grad, torch.tensor([0.0, 0.0, 1.0]))

    def test_what_the_teacher_observes(self):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5)
        )
        network[1].running_mean.uniform_()
        network[5].running_var.uniform_(1, 2)
        teacher = FrozenTeacher(network)
        x = torch.randn(6, 2, 4, 4, requires_grad=True)
        logits, found, features = teacher.observe(x)
        given = network[0](x)
        flat = network[4](network[:4](x))
        assert found.sizes == [3, 5]
        for channels, values, layer in ((slice(3), given.transpose(0, 1).flatten(1), 1), (slice(3, 8), flat.T, 5)):
            torch.testing.assert_close(found.mean[channels], values.mean(1))
            torch.testing.assert_close(found.variance[channels], values.var(1, correction=0))
            assert torch.equal(found.kept_mean[channels], network[layer].running_mean)
            assert torch.equal(found.kept_variance[channels], network[layer].running_var)
        assert torch.equal(logits, network(x))
        assert torch.equal(features, network[:4](x))
        BatchNormStatisticsLoss()(self.invented(logits, found)).backward()
        assert x.grad.abs().sum() > 0
        later = torch.randn(6, 3, 2, 2)
        network[1](later)
        kept = weakref.ref(later)
        del later
        assert kept() is None  # nobody looks any more

    def test_activation_by_hand(self):
        features = torch.tensor([[1.0, -2.0, 0.5], [0.0, 4.0, -1.5]])
        invented = self.invented(torch.zeros(2, 4))._replace(features=features.bfloat16())
        loss = ActivationLoss()(invented)
        assert loss.dtype == torch.float32
        assert loss.item() == -9 / 6

    def diverse(self, features, y, **options):
        invented = self.invented(torch.eye(3)[[0, 1, 1, 1, 0]])._replace(y=y, features=features)
        return DiversityLoss(**options)(invented)

    def test_diversity_by_hand(self):
        """Classes 0: images 0, 2 at cosine 0.6, 0, 4 at 0, 2, 4 at 0.8; class 1: images 1, 3, equal but for size."""
        features = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.6, 0.8], [5.0, 5.0], [0.0, 3.0]])
        y = torch.tensor([0, 1, 0, 1, 0])
        assert self.diverse(features.double(), y, enough=2.0).item() == pytest.approx(-(0.4 + 1 + 0.2 + 0) / 4)
        assert self.diverse(features, y, enough=0.3).item() == pytest.approx(-(0.3 + 0.3 + 0.2 + 0) / 4)
        # Else the classes that the teacher sees: 0 in images 0, 4, and 1 in 1, 2, 3, of which 1 and 3 are equal.
        between = 1 - 1.4 / 2**0.5
        assert self.diverse(features, None, enough=2.0).item() == pytest.approx(-(1 + 2 * between + 0) / 4)
        half = self.diverse(features.bfloat16(), y)
        assert half.dtype == torch.float32

    def test_diversity_without_pairs_is_nothing(self):
        features = torch.rand(5, 2, requires_grad=True)
        loss = self.diverse(features, torch.arange(5))
        loss.backward()
        assert loss.item() == 0
        assert not features.grad.any()

    @pytest.mark.parametrize("enough", [0.0, 2.5])
    def test_a_diversity_that_cannot_be_is_refused(self, enough):
        with pytest.raises(ValueError, match=r"enough must be in \(0, 2\], got"):
            DiversityLoss(enough=enough)

    def test_negative_weights_are_refused(self):
        with pytest.raises(ValueError, match="weight must not be negative, got -1"):
            OneHotLoss(-1.0)


def balance(logits_t):
    """The loss of a batch of which only the teacher's answers matter."""
    return ClassBalanceLoss()(SyntheticBatch(torch.zeros(len(logits_t), 1, 2, 2), torch.zeros_like(logits_t), logits_t))


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
