"""Counters of batches that a network leaves to its task."""

import torch
from torch import nn

from lightning_tasks.data_free.batch_counts import BatchCounts


def test_passes_are_added_to_what_layers_in_training_have_counted():
    network = nn.Sequential(
        nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval(), nn.BatchNorm1d(2, momentum=None), nn.BatchNorm1d(2)
    )
    network[0].num_batches_tracked += 5
    plain = [nn.BatchNorm1d(2) for _ in range(2)]
    counts = BatchCounts(network)
    x = torch.randn(4, 2)
    with counts.together():
        for _ in range(3):
            network(x)
            counts.add()
        assert network[0].num_batches_tracked is None
    assert [each.num_batches_tracked.item() for each in network] == [8, 0, 3, 3]
    network(x)
    assert [each.num_batches_tracked.item() for each in network] == [9, 0, 4, 4]
    for _ in range(4):
        plain[0](x)
    assert torch.equal(network[0].running_mean, plain[0].running_mean)  # it depends on no counter


def test_an_error_leaves_the_counters_in_place():
    network = nn.Sequential(nn.BatchNorm1d(2))
    counts = BatchCounts(network)
    try:
        with counts.together():
            counts.add()
            raise KeyError
    except KeyError:
        pass
    assert network[0].num_batches_tracked == 1
    assert "0.num_batches_tracked" in network.state_dict()
