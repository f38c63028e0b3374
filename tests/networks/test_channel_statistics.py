"""Mean and variance of each channel against autograd's plain way."""

import pytest
import torch

from lightning_tasks.networks.channel_statistics import channel_statistics


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (4, 7, 6, 5), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_values_and_gradients_are_those_of_the_plain_way(shape: tuple[int, ...], channels_last: bool) -> None:
    x = torch.randn(shape, dtype=torch.float64).float() * 3 + 10
    if channels_last and x.ndim == 4:
        x = x.to(memory_format=torch.channels_last)
    ours, plain = x.clone().requires_grad_(), x.double().requires_grad_()
    mean, variance = channel_statistics(ours)
    wanted_variance, wanted_mean = torch.var_mean(plain, [0, *range(2, x.ndim)], correction=0)
    torch.testing.assert_close(mean.double(), wanted_mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(variance.double(), wanted_variance, rtol=1e-4, atol=1e-5)
    weights = torch.arange(1.0, shape[1] + 1), torch.arange(shape[1] + 2.0, 2, -1)
    (mean @ weights[0] + variance.sqrt() @ weights[1]).backward()
    (wanted_mean @ weights[0].double() + wanted_variance.sqrt() @ weights[1].double()).backward()
    torch.testing.assert_close(ours.grad.double(), plain.grad, rtol=1e-3, atol=1e-5)


def test_half_precision_is_summed_in_float32() -> None:
    x = (torch.randn(64, 5, 16, 16) + 4).bfloat16().to(memory_format=torch.channels_last).requires_grad_()
    mean, variance = channel_statistics(x)
    assert mean.dtype == variance.dtype == torch.float32
    wanted = torch.var_mean(x.detach().double(), [0, 2, 3], correction=0)
    torch.testing.assert_close(variance.double(), wanted[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mean.double(), wanted[1], rtol=1e-4, atol=1e-4)
    variance.sum().backward()
    assert x.grad.dtype == torch.bfloat16


def test_double_precision_stays_so_and_its_gradient_is_that_of_differences() -> None:
    x = torch.randn(3, 4, 2, 5, dtype=torch.float64, requires_grad=True)
    assert channel_statistics(x)[1].dtype == torch.float64
    assert torch.autograd.gradcheck(channel_statistics, (x,))


def test_layers_stand_one_after_the_other_with_their_own_numbers_of_values() -> None:
    shapes = (3, 4, 2, 5), (6, 2), (2, 3, 7)
    layers = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    found = channel_statistics(*layers)
    alone = [channel_statistics(each) for each in layers]
    for both, parts in zip(found, zip(*alone, strict=True), strict=True):
        assert torch.equal(both, torch.cat(parts))
    assert torch.autograd.gradcheck(channel_statistics, layers)
