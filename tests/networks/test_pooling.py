"""AveragePool2d against nn.AdaptiveAvgPool2d, whose backward pass has no deterministic form on a GPU."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_tasks import StridedCNN
from lightning_tasks.networks import fold_batchnorm
from lightning_tasks.networks.pooling import AveragePool2d


class Seen(TorchDispatchMode):
    """Notes which operators are used."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("shape", [(8, 8), (8, 4), (7, 7), (5, 9), (3, 8), (2, 3)])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_equals_adaptive_pooling_without_its_operator(shape, size):
    results = []
    for pool in (AveragePool2d(size), nn.AdaptiveAvgPool2d(size)):
        x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with Seen() as seen:
            y = pool(x)
            y.square().sum().backward()
        results.append((y, x.grad))
        if isinstance(pool, AveragePool2d):
            assert not any("adaptive" in name for name in seen.names)
        elif size > 1:
            assert "_adaptive_avg_pool2d_backward" in seen.names
    exact = size == 1 or shape in ((8, 8), (8, 4))  # equal areas of a power of two
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, **({"rtol": 0, "atol": 0} if exact else {}))


def test_by_hand():
    """Of five columns each half takes three, and both the middle one."""
    x = torch.tensor([[1.0, 2, 3, 4, 5], [7, 8, 9, 10, 11]])[None, None]
    assert AveragePool2d(2)(x)[0, 0].tolist() == [[2, 4], [8, 10]]


@pytest.mark.parametrize("side", [8, 12])
def test_a_network_with_it_is_folded(side):
    network = StridedCNN(3, (1, side, side), (4, 4), (2, 1), 4, 5).eval()
    x = torch.randn(2, 1, side, side)
    torch.testing.assert_close(fold_batchnorm(network)(x), network(x))
    assert len(list(network.head[0].state_dict())) == 0
