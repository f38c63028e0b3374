"""A narrow network as an approximation of a wide one."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lightning_tasks import CNN, LeNet5, ResNet, WideResNet
from lightning_tasks.networks import reconstruct, reconstruction
from lightning_tasks.networks.reconstruction import predictive_channels


def images(count=96, side=16, channels=3):
    return torch.randn((count, channels, side, side), generator=torch.Generator().manual_seed(0))


def trained(network, x):
    """Statistics, scales and shifts as after some training, so that no layer is like another."""
    torch.manual_seed(1)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    for _ in range(20):
        network(x)
    return network.eval()


def doubled(small, large):
    """Give a network of twice the width the function of the small one: each channel twice, each input halved."""
    theirs = small.state_dict()
    for name, value in large.state_dict().items():
        given = theirs[name]
        for dim, (size, of) in enumerate(zip(given.shape, value.shape, strict=True)):
            if size != of:
                given = given.repeat_interleave(2, dim) / (2 if dim == 1 else 1)
        value.copy_(given)
    return large.eval()


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "ResNet": lambda width: ResNet(5, (3, 16, 16), depth=10, width=width),
    "ResNet, torchvision's stem": lambda width: ResNet(5, (3, 32, 32), depth=10, width=width, stem="imagenet"),
    "WideResNet": lambda width: WideResNet(5, (3, 16, 16), depth=10, width=width // 2),
    "CNN": lambda width: CNN(5, (3, 16, 16), stages=[[width], [2 * width]], hidden_sizes=[4 * width], average=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_same_width_becomes_the_other(name):
    x = images(side=32 if "stem" in name else 16)
    large = trained(NETWORKS[name](4), x)
    torch.manual_seed(2)
    small = NETWORKS[name](4)
    channels = reconstruct(small, large, x)
    found, wanted = small.eval()(x[:8]), large(x[:8])
    assert (found - wanted).abs().max() < 0.04 * wanted.std()
    assert all(torch.equal(each, torch.arange(len(each))) for each in channels.values())


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_half_of_a_network_that_has_every_channel_twice_is_all_of_it(name):
    x = images(side=32 if "stem" in name else 16)
    wanted = trained(NETWORKS[name](4), x)
    large = doubled(wanted, NETWORKS[name](8))
    assert torch.allclose(large(x[:8]), wanted(x[:8]), atol=1e-4)
    torch.manual_seed(2)
    small = NETWORKS[name](4)
    channels = reconstruct(small, large, x)
    assert (small.eval()(x[:8]) - wanted(x[:8])).abs().max() < 0.04 * wanted(x[:8]).std()
    for each in channels.values():
        if len(each) < 5:
            assert (each // 2).tolist() == [0, 1, 2, 3]  # one of each two


def test_channels_are_those_that_predict_the_others():
    """2 is 3 times 0 plus noise, 1 stands alone, 3 is small: 2 explains most, then 1."""
    torch.manual_seed(0)
    a, b, noise = torch.randn((3, 1000))
    channels = torch.stack([a, b, 3 * a + 0.1 * noise, 0.01 * noise])
    assert predictive_channels(torch.cov(channels), 1).tolist() == [2]
    assert predictive_channels(torch.cov(channels), 2).tolist() == [1, 2]
    assert predictive_channels(torch.zeros((3, 3)), 2).tolist() == [0, 1]


class Branches(nn.Module):
    """Two layers whose outputs are added, of which the first is narrow."""

    def __init__(self, width):
        super().__init__()
        self.narrow = nn.Conv2d(3, width, 1)
        self.first = nn.Conv2d(width, 6, 1)
        self.second = nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head((self.first(self.narrow(x)) + self.second(x)).relu().mean((2, 3)))


@torch.no_grad()
def test_the_later_of_two_branches_makes_up_for_the_other(monkeypatch):
    """The sum is linear in x, so the second layer can give what the first cannot."""
    torch.manual_seed(0)
    large, small = Branches(3), Branches(1)
    x = images(side=4)
    reconstruct(small, large, x)
    assert (small(x) - large(x)).abs().max() < 0.01 * large(x).std()
    monkeypatch.setattr(reconstruction, "_added_to", lambda node: None)
    reconstruct(small, large, x)
    assert (small(x) - large(x)).abs().max() > 0.1 * large(x).std()


@torch.no_grad()
def test_a_layer_takes_what_the_fitted_ones_give():
    """The middle layer's input is not the large network's; the best answer to it is found by hand."""
    torch.manual_seed(0)
    large = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    small = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    x = torch.randn((500, 4))
    reconstruct(small, large, x)
    inputs = torch.cat([small[:2](x), torch.ones((500, 1))], dim=1)
    best = inputs @ torch.linalg.lstsq(inputs, large(x)).solution
    torch.testing.assert_close(small(x), best, atol=0.01, rtol=0.01)


def test_a_layer_without_bias_has_no_intercept():
    torch.manual_seed(0)
    large = nn.Linear(4, 3)
    small = nn.Linear(4, 3, bias=False)
    x = torch.randn((500, 4)) + 2
    reconstruct(nn.Sequential(small), nn.Sequential(large), x)
    with torch.no_grad():
        best = torch.linalg.lstsq(x, large(x)).solution.T
    torch.testing.assert_close(small.weight, best, atol=0.01, rtol=0.01)


def test_modes_and_the_other_network_are_left_alone():
    large, small = NETWORKS["ResNet"](4), NETWORKS["ResNet"](2)
    before = {name: value.clone() for name, value in large.state_dict().items()}
    reconstruct(small, large, images(8))
    assert large.training
    assert small.training
    assert all(torch.equal(value, before[name]) for name, value in large.state_dict().items())
    assert all(each.requires_grad for each in small.parameters())


@pytest.mark.parametrize(
    ("small", "large", "message"),
    [
        (lambda: NETWORKS["ResNet"](4), lambda: NETWORKS["CNN"](4), "differ in more than their widths"),
        (
            lambda: NETWORKS["ResNet"](8),
            lambda: NETWORKS["ResNet"](4),
            r"conv1 of shape \(8, 3, 3, 3\) cannot be a part",
        ),
        (lambda: Grouped(2), lambda: Grouped(2), "layer: not a convolution without groups"),
        (lambda: Joined(), lambda: Joined(), "cat: values can only be added"),
        (lambda: Branching(), lambda: Branching(), "torch.fx cannot trace the network"),
        (lambda: Own(), lambda: Own(), "scale: not a convolution"),
    ],
)
def test_other_networks_are_refused(small, large, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(small(), large(), images(4))


class Grouped(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, groups=groups)

    def forward(self, x):
        return self.layer(x)


class Joined(nn.Module):
    def forward(self, x):
        return torch.cat([x, x + x.mean()])


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x):
        return x * self.scale


class Diagnosed(nn.Module):
    """Computes what it does not answer with."""

    def __init__(self, width):
        super().__init__()
        self.layer, self.head, self.fc = nn.Conv2d(3, width, 3), nn.Conv2d(width, 2, 1), nn.Linear(width, 5)

    def forward(self, x):
        x = self.layer(x).relu()
        self.head(x).mean()
        return self.fc(x.mean(dim=(2, 3)))


@torch.no_grad()
def test_what_a_network_does_not_answer_with_is_left_alone():
    torch.manual_seed(0)
    large, small = Diagnosed(4), Diagnosed(4)
    before = small.head.weight.clone()
    reconstruct(small, large, images())
    torch.testing.assert_close(small(images()), large(images()), atol=0.02, rtol=0)
    assert torch.equal(small.head.weight, before)


@torch.no_grad()
def test_half_of_lenet_is_nearer_to_it_than_a_constant():
    """A network without BatchNorm whose maps are flattened."""
    x = images(256, 32, 1)
    torch.manual_seed(0)
    large, small = LeNet5(10, (1, 32, 32)), LeNet5(10, (1, 32, 32), scale=0.5)
    reconstruct(small, large, x)
    assert (small(x) - large(x)).square().mean() < 0.5 * large(x).var(dim=0).mean()
