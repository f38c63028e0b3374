"""Averaged networks against PyTorch's own, which waits for a GPU at each update."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_tasks.weight_averaging import AveragedNetwork


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def follow(average, model, steps):
    for step in range(steps):
        with torch.no_grad():
            for each in [*model.parameters(), *model.buffers()]:
                each += 100 * (step + 1)
        average.update_parameters(model)


def test_by_hand():
    """The first update takes the weights 1 over, the second 0.75 of them and 0.25 of 3."""
    model = nn.Linear(1, 1, bias=False)
    average = AveragedNetwork(model, 0.75, "ema_decay")
    for weight in (1.0, 3.0):
        nn.init.constant_(model.weight, weight)
        average.update_parameters(model)
    assert average.module.weight.item() == 0.75 * 1 + 0.25 * 3
    assert average.n_averaged == 2


def test_equal_to_pytorchs_own():
    ours = AveragedNetwork(network(), 0.9, "ema_decay")
    theirs = AveragedModel(network(), multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for average in (ours, theirs):
        follow(average, network(), 4)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_a_loaded_average_goes_on_and_a_restarted_one_begins_anew():
    model = network()
    whole, first = AveragedNetwork(model, 0.9, "ema_decay"), AveragedNetwork(model, 0.9, "ema_decay")
    follow(first, copy.deepcopy(model), 2)
    resumed = AveragedNetwork(model, 0.9, "ema_decay")
    resumed.load_state_dict(first.state_dict())
    follow(whole, copy.deepcopy(model), 2)
    for average in (whole, resumed):
        average.update_parameters(model)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    whole.restart()
    whole.update_parameters(model)
    assert torch.equal(whole.module[0].weight, model[0].weight)
    assert whole.n_averaged == 1


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=rf"ema_decay must be in \(0, 1\), got {decay}"):
        AveragedNetwork(network(), decay, "ema_decay")
