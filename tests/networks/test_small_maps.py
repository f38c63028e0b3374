"""Convolutions of small maps against torch's own."""

import copy

import pytest
import torch
from torch import nn

from lightning_tasks.networks import ResNet, fold_batchnorm
from lightning_tasks.networks.small_maps import SmallMapConv2d

CIFAR = (3, 32, 32)


def as_plain(network):
    """A copy whose convolutions are all of torch's class."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, SmallMapConv2d):
            module.__class__ = nn.Conv2d
    return network


def small_maps(network):
    return [each for each in network.modules() if isinstance(each, SmallMapConv2d)]


def resnet(**options):
    torch.manual_seed(0)
    network = ResNet(10, CIFAR, **{"depth": 18, "width": 4, "stem": "imagenet"} | options)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(16, *network.image_shape))  # statistics that are not 0 and 1
    return network.eval()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 2), (2, 1), (1, 3), (3, 3), (4, 4)])
def test_equals_torchs_convolution_and_its_gradients(size, stride, memory_format, bias):
    torch.manual_seed(0)
    ours = SmallMapConv2d(5, 7, stride).double()
    if bias:
        ours.bias = nn.Parameter(torch.randn(7).double())  # as a folded BatchNorm leaves it
    theirs = as_plain(nn.Sequential(ours))[0]
    assert type(theirs) is nn.Conv2d
    assert list(ours.state_dict()) == list(theirs.state_dict())
    found = []
    x = torch.randn(3, 5, *size).double()
    for each in (ours.to(memory_format=memory_format), theirs):
        inputs = x.clone(memory_format=memory_format).requires_grad_()
        outputs = each(inputs)
        weights = torch.arange(outputs.numel()).view(outputs.shape).double().cos()
        found.append([outputs, *torch.autograd.grad((outputs * weights).sum(), [inputs, *each.parameters()])])
    torch.testing.assert_close(*found)


def test_only_torchvisions_stem_has_them():
    assert not small_maps(ResNet(10, CIFAR, depth=18, width=4))
    assert len(small_maps(ResNet(10, CIFAR, depth=18, width=4, stem="imagenet"))) == 16


@pytest.mark.parametrize("enlarge", [1, 2])
@pytest.mark.parametrize("side", [32, 48, 64])
def test_images_of_any_size_are_answered_as_by_torchs_convolutions(side, enlarge):
    network = resnet(enlarge=enlarge)
    x = torch.randn(2, 3, side, side)
    torch.testing.assert_close(network(x), as_plain(network)(x))


def test_folding_keeps_them_and_the_function():
    network = resnet()
    folded = fold_batchnorm(network)
    x = torch.randn(2, *CIFAR, requires_grad=True)
    torch.testing.assert_close(folded(x), network(x), atol=1e-4, rtol=1e-4)
    gradients = [torch.autograd.grad(each(x).square().sum(), x)[0] for each in (network, folded)]
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-3 * gradients[0].abs().max().item(), rtol=0)
    assert len(small_maps(folded)) == len(small_maps(network))
    assert all(each.bias is not None for each in small_maps(folded))
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
    assert small_maps(network)  # the network is as it was
    assert all(each.bias is None for each in small_maps(network))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """Under autocast they compute in the dtype of torch's convolutions, and gradients are of the weights' dtype."""
    ours = SmallMapConv2d(5, 7)
    x = torch.randn(3, 5, 2, 2)
    found = []
    for each in (ours, as_plain(nn.Sequential(ours))[0]):
        with torch.autocast("cpu", dtype):
            outputs = each(x)
        found.append([outputs, *torch.autograd.grad(outputs.float().square().sum(), list(each.parameters()))])
    assert found[0][0].dtype == dtype
    assert found[0][1].dtype == torch.float32
    torch.testing.assert_close(*found, atol=0.05, rtol=0.05)


@pytest.mark.slow
def test_export_and_compile():
    """torch.export, with as many images as are given, and torch.compile's graph follow them."""
    network = resnet()
    x = torch.randn(3, *CIFAR)
    exported = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for each in (exported, compiled):
        y = torch.randn(5, *CIFAR)
        torch.testing.assert_close(each(y), network(y))
