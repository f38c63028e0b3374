"""Networks by builders that hand options on without naming them: what the config does not say is not passed."""

import gc

import pytest
import torchvision
from helpers.commands import refused

from lightning_tasks.cli.main import main

BUILDERS = """
from torch import nn


class Base(nn.Module):
    def __init__(self, num_classes, width: int, depth: int = 1, bias: bool = True):
        super().__init__()
        self.said = width, depth, bias
        self.fc = nn.Linear(256, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Sub(Base):
    def __init__(self, num_classes, **options):
        options.setdefault("bias", False)
        super().__init__(num_classes, width=4, **options)


def sets(num_classes, **options):
    options["width"] = 8
    return Base(num_classes, **options)


def prefers(num_classes, **options):
    options.setdefault("depth", 3)
    return Base(num_classes, 5, **options)


def insists(num_classes, **options):
    if options.setdefault("depth", 7) != 7:
        raise ValueError(f"depth must be 7, got {options['depth']}")
    return Base(num_classes, 5, **options)


def plain(num_classes, width: int = 6, depth: int = 2):
    return Base(num_classes, width, depth)
"""
# Images that a network cannot do without, where they are greater than those of the others.
SIDES = {"vit": 224, "maxvit": 224, "swin": 64, "inception": 299, "alexnet": 64}
# Of timm, one of each of twenty families.
TIMM = [
    "convmixer_768_32",
    "convnext_atto",
    "cspresnet50",
    "densenet121",
    "dla34",
    "efficientnet_b0",
    "ghostnet_050",
    "hrnet_w18_small",
    "inception_v4",
    "mobilenetv3_small_050",
    "mobileone_s0",
    "nfnet_f0",
    "regnetx_002",
    "repvgg_a0",
    "res2net50_26w_4s",
    "resnet10t",
    "rexnet_100",
    "selecsls42",
    "vgg11",
    "xception41",
]


def built(network, *words, shape=(1, 16, 16)):
    """A network of a command line, which has been tried on two images in both modes."""
    channels = shape[0]
    data = ["--data=NoImages", "--data.num_classes=3", f"--data.image_shape={[*shape]}"]
    data += [f"--data.{name}={[0.5] * channels}" for name in ("mean", "std")]
    options = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--plots=false"]
    words = ["--model=ClassificationTask", f"--model.network={network}", *words, *data, *options]
    return main(words, run=False).model.network


@pytest.fixture
def builders(tmp_path, monkeypatch):
    (tmp_path / "builders_of_nets.py").write_text(BUILDERS)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("network", "words", "said"),
    [
        ("sets", {}, (8, 1, True)),
        ("prefers", {}, (5, 3, True)),
        ("prefers", {"depth": 1}, (5, 1, True)),
        ("insists", {}, (5, 7, True)),
        ("Sub", {}, (4, 1, False)),
        ("Sub", {"bias": True, "depth": 2}, (4, 2, True)),
        ("plain", {}, (6, 2, True)),
        ("plain", {"depth": 3}, (6, 3, True)),
    ],
)
def test_only_what_is_said_is_passed(builders, network, words, said):
    given = [f"--model.network.{name}={value}" for name, value in words.items()]
    assert built(f"builders_of_nets.{network}", *given).module.said == said


def test_what_is_said_reaches_the_builder(builders, tmp_path):
    words = ["fit", "--model=ClassificationTask", "--data=DigitsDataModule", "--trainer.accelerator=cpu"]
    words.append("--model.network=builders_of_nets.insists")
    assert "depth must be 7, got 1" in refused(tmp_path, *words, "--model.network.depth=1", status=1)
    assert "Option 'dept' is not accepted" in refused(tmp_path, *words, "--model.network.dept=1", status=2)
    words[-1] = "--model.network=torchvision.models.wide_resnet50_2"
    line = refused(tmp_path, *words, "--model.network.width_per_group=64", status=1)
    assert "The parameter 'width_per_group' expected value 128 but got 64 instead" in line


def side_of(name):
    return next((side for start, side in SIDES.items() if name.startswith(start)), 32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The default weight initialization of:FutureWarning")
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_each_of_torchvision_starts(name):
    network = built(f"torchvision.models.{name}", shape=(3, side_of(name), side_of(name)))
    assert network.num_classes == 3
    del network
    gc.collect()  # some have hundreds of millions of weights


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_families_of_timm_start(name):
    pytest.importorskip("timm")
    network = {"class_path": "timm.create_model", "init_args": {"model_name": name}}
    assert built(network, shape=(3, 96, 96)).num_classes == 3
