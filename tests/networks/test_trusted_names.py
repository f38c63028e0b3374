"""Classes and functions as options of a user's network: what a config names may be built again from a checkpoint."""

import json

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_TRAINER, refusal, run_cli

from lightning_tasks.export.export import export

NETS = """
from collections.abc import Callable

from torch import nn


class Block(nn.Sequential):
    def __init__(self, channels: int):
        super().__init__(nn.Conv2d(channels, channels, 3, 2, 1), nn.BatchNorm2d(channels))


class Other(Block):
    pass


def squash(x):
    return x.tanh()


class Scale(nn.Module):
    def __init__(self, by: float = 2.0):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x * self.by


class Net(nn.Module):
    def __init__(
        self,
        block: type[nn.Module] = Block,
        blocks: list[type[nn.Module]] | None = None,
        act: Callable = squash,
        act_layer: Callable = nn.ReLU,
        scale: nn.Module | None = None,
        num_classes: int = 10,
    ):
        super().__init__()
        parts = [act_layer(), *(each(4) for each in [block, *(blocks or [])])]
        self.parts = nn.Sequential(nn.Conv2d(1, 4, 1), *parts, scale or nn.Identity(), nn.AdaptiveAvgPool2d(1))
        self.act, self.fc = act, nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(self.act(self.parts(x).flatten(1)))


class Any(nn.Module):
    def __init__(self, num_classes, block=Block, **others):
        super().__init__()
        self.net = Net(block, num_classes=num_classes)

    def forward(self, x):
        return self.net(x)
"""
EACH = {
    "block": "trusted_nets.Other",
    "blocks": ["trusted_nets.Other"],
    "act": "trusted_nets.squash",
    "act_layer": "torch.nn.SiLU",
    "scale": {"class_path": "trusted_nets.Scale", "init_args": {"by": 3.0}},
}
WAYS = {
    "defaults alone": {"class_path": "trusted_nets.Net"},
    "a class, a list, a function and an object": {"class_path": "trusted_nets.Net", "init_args": EACH},
    "without types": {"class_path": "trusted_nets.Any", "dict_kwargs": {"scale": "trusted_nets.Scale"}},
}
REST = [*TINY_DATA, *TINY_TRAINER, "--data.batch_size=25", "--plots=false", "--experiment=own"]


NETWORK = {"class_path": "trusted_nets.Net", "init_args": {"block": "trusted_nets.Other"}}


def words_of(network):
    return ["--model=ClassificationTask", f"--model.network={json.dumps(network)}", *REST]


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "trusted_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_gone_on_with(nets, way):
    words = words_of(WAYS[way])
    first = run_cli("fit", *words, "--trainer.max_epochs=1")
    again = run_cli("test", *words, "--ckpt_path=last")
    assert again.trainer.callback_metrics["test/acc"] == first.trainer.callback_metrics["test/acc"]
    assert run_cli("fit", *words, "--trainer.max_epochs=2", "--ckpt_path=last").trainer.current_epoch == 2


@pytest.mark.slow
def test_of_timm(nets):
    pytest.importorskip("timm")
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2}
    words = words_of({"class_path": "timm.models.vision_transformer.VisionTransformer", "init_args": options})
    run_cli("fit", *words, "--trainer.max_epochs=1")
    run_cli("predict", *words, "--ckpt_path=last")
    run_cli("fit", *words, "--trainer.max_epochs=2", "--ckpt_path=last")


@pytest.mark.slow
def test_it_is_exported(nets, tmp_path):
    run_cli("fit", *words_of(NETWORK), "--trainer.max_epochs=1")
    assert export("logs/own", tmp_path / "out", False, "x", "y")[1]["network"] == "ExternalNetwork"


@pytest.mark.slow
def test_what_the_config_does_not_name_is_refused(nets, tmp_path):
    """A checkpoint of another block; and one that names code which nothing has imported."""
    run_cli("fit", *words_of(NETWORK), "--trainer.max_epochs=1")
    path = tmp_path / "logs/own/version_0/checkpoints/last.ckpt"
    said = refusal(tmp_path, "test", *words_of(WAYS["defaults alone"]), f"--ckpt_path={path}")
    assert "names trusted_nets.Other (network.init_args.block), which is no part of this project" in said
    (tmp_path / "never_imported.py").write_text("raise SystemExit('imported')")
    checkpoint = torch.load(path, weights_only=True)
    for value in ("never_imported.Block", ["never_imported.Block"], {"class_path": "never_imported.Block"}):
        checkpoint["hyper_parameters"]["network"]["init_args"]["block"] = value
        torch.save(checkpoint, path)
        said = refusal(tmp_path, "test", *words_of(NETWORK), f"--ckpt_path={path}")
        assert "names never_imported.Block (network.init_args.block" in said
