"""Weights of a network from the files in which people keep them."""

import argparse
from pathlib import PosixPath

import numpy as np
import pytest
import torch
from helpers.commands import make_trainer
from safetensors.torch import save_file
from torch import nn

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.networks import NetworkFile
from lightning_tasks.runs.weights import fitting, load_weights, read_checkpoint


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 5)


def net(seed=0, width=4):
    torch.manual_seed(seed)
    made = Net(width)
    nn.init.uniform_(made.bn1.running_mean)
    return made


def loaded(path, target=None):
    """What a fresh network has after loading the file."""
    target = target or net(1)
    load_weights(target, fitting(read_checkpoint(path, "x")["state_dict"], target, "the weights"), "the weights")
    return target.state_dict()


def same(ours, theirs, **tolerance):
    assert all(torch.allclose(ours[name], theirs[name], **tolerance) for name in ours)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "network.", "module.model.", "a.b.c."])
@pytest.mark.parametrize("holder", [None, "state_dict", "model", "net"])
def test_of_any_wrapper_under_any_name(tmp_path, prefix, holder):
    weights = {f"{prefix}{name}": value for name, value in net().state_dict().items()}
    torch.save(weights if holder is None else {holder: weights, "epoch": 7}, tmp_path / "a.pth")
    same(loaded(tmp_path / "a.pth"), net().state_dict())


def test_safetensors(tmp_path):
    save_file(net().state_dict(), tmp_path / "a.safetensors")
    same(loaded(tmp_path / "a.safetensors"), net().state_dict())
    (tmp_path / "a.safetensors").write_text("no")
    with pytest.raises(ValueError, match=r"x: .*a.safetensors is damaged, or no safetensors file"):
        read_checkpoint(tmp_path / "a.safetensors", "x")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_of_another_precision(tmp_path, dtype):
    torch.save(net().to(dtype).state_dict(), tmp_path / "a.pth")
    found = loaded(tmp_path / "a.pth")
    same(found, net().state_dict(), rtol=0.01)
    assert found["fc.weight"].dtype == torch.float32


def test_counts_of_batches_may_be_missing(tmp_path):
    weights = {name: value for name, value in net().state_dict().items() if "tracked" not in name}
    torch.save(weights, tmp_path / "a.pth")
    assert loaded(tmp_path / "a.pth")["fc.bias"].tolist() == weights["fc.bias"].tolist()


def test_the_network_of_a_task_comes_before_its_average_and_its_teacher():
    """The teacher is of the same kind, and its name is the shorter."""
    parts = {"student.": 0, "ema.module.": 1, "t.": 2}
    weights = {f"{part}{name}": value for part, seed in parts.items() for name, value in net(seed).state_dict().items()}
    same(fitting(weights, net(), "they"), net(0).state_dict())
    weights = {name: value for name, value in weights.items() if not name.startswith("student.")}
    same(fitting(weights, net(), "they"), net(2).state_dict())


def test_two_networks_alike_are_refused():
    weights = {f"encoder_{part}.{name}": value for part in "qk" for name, value in net().state_dict().items()}
    with pytest.raises(
        ValueError, match=r"they are those of several networks that fit: encoder_k\., encoder_q\.; keep one"
    ):
        fitting(weights, net(), "they")


def test_those_under_the_prefix_that_has_most_of_them():
    weights = {f"encoder.{name}": value for name, value in net(1).state_dict().items() if "conv" in name}
    weights |= {f"whole.{name}": value for name, value in net(2).state_dict().items()}
    same(fitting(weights, net(), "they"), net(2).state_dict())


def test_a_checkpoint_of_a_task_from_python(tmp_path):
    data = DigitsDataModule(image_size=8, train_per_class=5)
    task = ClassificationTask(data.data_spec, network=MLP, ema_decay=0.5)
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    same(loaded(tmp_path / "a.ckpt", MLP(10, (1, 8, 8))), task.network.state_dict())


def test_what_does_not_fit_is_counted():
    theirs = net(width=6).state_dict()
    theirs |= {f"layer{index}.weight": torch.ones(1) for index in range(5)}
    del theirs["fc.bias"], theirs["bn1.weight"]
    with pytest.raises(ValueError, match="the weights do not fit Net: ") as stop:
        load_weights(net(), theirs, "the weights")
    assert str(stop.value) == (
        "the weights do not fit Net: 2 missing (bn1.weight, fc.bias); 5 not in the network (layer0.weight,"
        " layer1.weight, layer2.weight); 6 of another shape (conv1.weight (6, 3, 3, 3) for (4, 3, 3, 3), conv1.bias"
        " (6,) for (4,), bn1.bias (6,) for (4,))"
    )
    before = net().state_dict()
    target = net()
    with pytest.raises(ValueError, match="1 missing"):
        load_weights(target, {name: value + 1 for name, value in before.items() if name != "fc.bias"}, "they")
    same(target.state_dict(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(value):
    weights = net().state_dict()
    weights["fc.weight"][2, 1] = value
    with pytest.raises(ValueError, match=r"they are not finite numbers in 1 places \(fc.weight\)"):
        load_weights(net(), weights, "they")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not weights"),
        (b"<html><body>", "is a web page, not weights"),
        (b"PK\x03\x04 cut short", "is damaged, or holds more than plain data"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, said):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=f"teacher_ckpt: .*a.pth {said}"):
        read_checkpoint(tmp_path / "a.pth", "teacher_ckpt")


def test_contents_that_are_no_weights(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(torch.optim.SGD(net().parameters(), lr=0.1, momentum=0.9).state_dict(), path)
    with pytest.raises(ValueError, match="holds the state of an optimizer, not the weights of a network"):
        read_checkpoint(path, "x")
    for content, said in (
        ({"epoch": 3, "acc": 0.5}, "has the keys epoch, acc$"),
        ([1, 2], "has a list$"),
        ({}, "keys"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=f"is no checkpoint: it has no weights by name, .*{said}"):
            read_checkpoint(path, "x")
    torch.save(net(), path)  # the whole module, by pickle
    with pytest.raises(ValueError, match=r"holds more than plain data: objects of test_weights\.Net"):
        read_checkpoint(path, "x")


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_torchscript_file_is_a_network(tmp_path):
    torch.jit.script(nn.Linear(2, 3)).save(tmp_path / "a.pt")
    with pytest.raises(ValueError, match="is a TorchScript file, which holds the whole network"):
        read_checkpoint(tmp_path / "a.pt", "x")


def test_a_flipped_bit_is_seen_or_changes_nothing(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(net().state_dict(), path)
    whole = path.read_bytes()
    start = whole.index(net().fc.weight.detach().numpy().tobytes())
    for place in (start, start + 33, *range(0, len(whole), 97)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            weights = read_checkpoint(path, "teacher_ckpt")["state_dict"]
        except ValueError as error:
            assert str(error).startswith(f"teacher_ckpt: {path} is ")  # noqa: PT017
        else:
            assert place not in (start, start + 33)
            same(net().state_dict(), weights)


def _content(what):
    weights = net().state_dict()
    return {
        "argparse.Namespace": {"state_dict": weights, "args": argparse.Namespace(lr=0.1)},
        "numpy._core.multiarray.scalar, numpy.dtype": {"model": weights, "acc": np.float64(0.5)},
        "pathlib.PosixPath": {"state_dict": weights, "config": {"root": [PosixPath("data")]}},
        "test_weights.Net, torch.nn.modules.batchnorm.BatchNorm2d, torch.nn.modules.conv.Conv2d": net(),
        "builtins.len": {"state_dict": weights, "key": len},
    }[what]


@pytest.mark.parametrize("former_format", [False, True])
@pytest.mark.parametrize(
    "what",
    [
        "argparse.Namespace",
        "numpy._core.multiarray.scalar, numpy.dtype",
        "pathlib.PosixPath",
        "test_weights.Net, torch.nn.modules.batchnorm.BatchNorm2d, torch.nn.modules.conv.Conv2d",
        "builtins.len",
    ],
)
def test_objects_beside_the_weights_are_named_with_the_way_out(tmp_path, what, former_format):
    path = tmp_path / "a.pth"
    torch.save(_content(what), path, _use_new_zipfile_serialization=not former_format)
    named = what.split(", ")[0].removeprefix("builtins.") if former_format else what  # torch.load names the first
    with pytest.raises(
        ValueError, match=f"^x: .*a.pth holds more than plain data: objects of {named}; where it was made,"
    ):
        read_checkpoint(path, "x")


def test_objects_in_other_places(tmp_path):
    """A whole network in the place of a graph, and a checkpoint that is loaded from Python."""
    torch.save(net(), tmp_path / "a.pt")
    with pytest.raises(
        ValueError, match=r"^path: .*a.pt is a pickle of test_weights.Net, .*; name the class as the net"
    ):
        NetworkFile(5, (3, 8, 8), str(tmp_path / "a.pt"))
    torch.save(_content("argparse.Namespace"), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a.ckpt holds more than plain data: objects of argparse.Namespace; where"):
        ClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt")
