"""Networks that know nothing of this project: by import path, and whole in a file."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.commands import (
    ROOT,
    TINY_DATA,
    TINY_DFAD,
    TINY_TRAINER,
    image_folder,
    refused,
    run_card,
    run_cli,
)
from helpers.external_nets import NETS
from torch import nn

from lightning_tasks import ResNet
from lightning_tasks.networks import ExternalNetwork, build_network, cut_into_layers
from lightning_tasks.runs.checkpoints import file_hash

SHAPE = (1, 16, 16)
FIT = ["fit", "--model=ClassificationTask", *TINY_DATA, *TINY_TRAINER, "--data.batch_size=25", "--trainer.max_epochs=1"]
FIT += ["--experiment=own"]


def flat(classes, shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


class TestBuilding:
    @pytest.mark.parametrize(
        ("factory", "told"),
        [
            (lambda num_classes, image_shape: (num_classes, image_shape), (10, SHAPE)),
            (lambda in_channels, n_classes: (in_channels, n_classes), (1, 10)),
            (lambda width=3, *, in_chans, input_shape: (width, in_chans, input_shape), (3, 1, SHAPE)),
            (lambda classes, shape: (classes, shape), (10, SHAPE)),
            (lambda classes, shape, depth=4: (classes, shape, depth), (10, SHAPE, 4)),
            (lambda **options: options, {"num_classes": 10, "image_shape": SHAPE}),
            (lambda name="x", **options: (name, options), ("x", {"num_classes": 10})),
            (lambda: "nothing", "nothing"),
            (partial(lambda num_classes, width: (num_classes, width), width=5), (10, 5)),
            (partial(lambda a, b, depth: (a, b, depth), depth=5), (10, SHAPE, 5)),
        ],
    )
    def test_whoever_asks_by_name_is_told(self, factory, told):
        seen = []

        def keep(made):
            seen.append(made)
            return flat(10, SHAPE)

        def wrapped(*args, **kwargs):
            return keep(factory(*args, **kwargs))

        wrapped.__signature__ = __import__("inspect").signature(factory)
        network = build_network(wrapped, 10, SHAPE)
        assert seen == [told]
        assert isinstance(network, ExternalNetwork)
        assert (network.num_classes, network.image_shape) == (10, SHAPE)

    def test_a_module_is_copied(self):
        module = flat(10, SHAPE)
        network = build_network(module, 10, SHAPE)
        x = torch.randn(2, *SHAPE)
        assert torch.equal(network(x), module(x))
        network.requires_grad_(False)
        assert all(parameter.requires_grad for parameter in module.parameters())
        with pytest.raises(ValueError, match=r"Sequential maps images \(2, 1, 16, 16\) to \(2, 10\)"):
            build_network(module, 7, SHAPE)

    def test_networks_of_this_project_are_as_they_were(self):
        network = build_network(partial(ResNet, depth=10, width=4), 10, SHAPE)
        assert type(network) is ResNet
        assert network.inner is network
        assert type(build_network(lambda classes, shape: ResNet(classes, shape, 10, 4), 10, SHAPE)) is ResNet

    @pytest.mark.parametrize(
        ("factory", "said"),
        [
            (
                lambda num_classes: flat(7, SHAPE),
                r"Sequential maps images \(2, 1, 16, 16\) to \(2, 7\); the data have 10 classes",
            ),
            (
                lambda num_classes: flat(10, (3, 16, 16)),
                r"Sequential cannot take images \(2, 1, 16, 16\): RuntimeError: mat",
            ),
            (lambda num_classes: 3, "<lambda> gives no module but a int"),
            (lambda num_classes, width: None, "<lambda> cannot be called with num_classes: .*width"),
            (lambda a, b, c: None, "<lambda> cannot be called with nothing"),
            (lambda num_classes: nn.LSTM(16, 10), "LSTM cannot take images"),
        ],
    )
    def test_what_is_no_network_for_the_data(self, factory, said):
        with pytest.raises(ValueError, match=said):
            build_network(factory, 10, SHAPE)

    def test_what_a_config_sets_is_not_told_again(self):
        """As jsonargparse hands a function over: the last argument of one of its own."""

        def call(_, function, **options):
            return function(**options)

        def make(width, depth):
            return flat(10, SHAPE) if (width, depth) == (3, 2) else None

        network = build_network(partial(call, "context", make, width=3, depth=2), 10, SHAPE)
        assert isinstance(network, ExternalNetwork)

    def test_the_look_at_it_leaves_no_trace(self):
        module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(256, 10))
        state = torch.get_rng_state()
        network = build_network(lambda: module, 10, SHAPE)
        assert torch.equal(state, torch.get_rng_state())
        assert module[0].num_batches_tracked == 0
        assert all(each.training for each in network.modules())
        assert [len(layer) for layer in cut_into_layers(network)] == [3, 1]


class TestByImportPath:
    @pytest.mark.parametrize(
        ("words", "parameters"),
        [
            (["--model.network=own_nets.Small", "--model.network.width=6"], 6 * 9 + 6 + 12 + 70),
            (["--model.network=own_nets.make", "--model.network.width=4"], 4 * 9 + 4 + 8 + 50),
            *(
                pytest.param([f"--model.network=own_nets.{name}"], parameters, marks=pytest.mark.slow)
                for name, parameters in (("Small", 4 * 9 + 4 + 8 + 50), ("make", 6 * 9 + 6 + 12 + 70), ("ten", 76))
            ),
        ],
    )
    def test_of_the_users_own_file(self, nets, words, parameters):
        run_cli(*FIT, *words)
        assert run_card("own")["parameters"] == {"network": parameters}
        again = run_cli("test", "--config=logs/own/version_0/config.yaml", "--ckpt_path=last")
        assert isinstance(again.model.network.module, nets.Small)

    def test_in_the_current_folder_of_a_shell(self, children, tmp_path):
        (tmp_path / "own_nets.py").write_text(NETS)
        done = children.run([*FIT, "--model.network=own_nets.make"], tmp_path)
        assert done.status == 0, done.err

    def test_of_torchvision(self, tmp_path):
        folder = image_folder(tmp_path / "images", {"train": 4, "test": 2}, ["a", "b", "c"])
        words = [word for word in FIT if not word.startswith("--data")]
        words += ["--data=ImageFolderDataModule", f"--data.folder={folder}", "--data.val_fraction=0.25"]
        run_cli(*words, "--model.network=torchvision.models.mobilenet_v3_small")
        assert run_card("own")["parameters"]["network"] > 1_500_000

    @pytest.mark.slow
    def test_of_timm(self):
        network = {"class_path": "timm.create_model", "init_args": {"model_name": "resnet10t"}}
        network["dict_kwargs"] = {"in_chans": 1, "stem_width": 8}
        run_cli(*FIT, f"--model.network={network}", "--trainer.limit_train_batches=1")
        assert run_card("own")["parameters"]["network"] > 1_000_000

    def test_bad_names_are_one_line(self, nets, tmp_path):
        def line(name, *words, status=2):
            return refused(tmp_path, *FIT, f"--model.network={name}", *words, status=status)

        assert line("own_nets.nothing") == (
            "error: network: own_nets.nothing: module 'own_nets' has no attribute 'nothing'"
        )
        assert "network: no_nets.Small: No module named 'no_nets'" in line("no_nets.Small")
        assert "network: no class Nothing; known are CNN, MLP" in line("Nothing")
        assert "network: own_nets.number: Unexpected import object 3" in line("own_nets.number")
        assert "Option 'widt' is not accepted (--model.network.widt)" in line(
            "own_nets.Small", "--model.network.widt=3"
        )
        assert "no such luck" in line("own_nets.broken", status=1)
        assert "Identity maps images (2, 1, 16, 16) to (2, 1, 16, 16)" in line("torch.nn.Identity", status=1)


def test_a_foreign_state_dict_teaches(nets, tmp_path):
    torch.save({"net": {f"module.{key}": value for key, value in nets.Small(4, 10, 1).state_dict().items()}}, "a.pth")
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", "--model.teacher_ckpt=a.pth"]
    words = [word for word in words if not word.startswith("--model.teacher")]
    words += ["--model.teacher=own_nets.Small", "--model.teacher_ckpt=a.pth"]
    cli = run_cli("fit", *words)
    assert torch.equal(cli.model.teacher.network.module.fc.bias, torch.load("a.pth")["net"]["module.fc.bias"])
    assert run_card("dfad")["teacher_sha256"] == file_hash(Path("a.pth"))


def test_weights_that_a_network_brings_with_it_are_used_with_a_warning(nets, tmp_path):
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", "--model.teacher_ckpt=null"]
    words = [word for word in words if not word.startswith("--model.teacher.")]
    with pytest.warns(UserWarning, match="null; the teacher has the weights with which Small is made"):
        run_cli("fit", *words, "--model.teacher=own_nets.ten")
    assert len(run_card("dfad")["teacher_sha256"]) == 64


def test_the_twelve_lines_of_the_readme(tmp_path, monkeypatch):
    """As they stand there."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(block.splitlines()) <= 12
    Path("mine.yaml").write_text(block)
    Path("my_file.py").write_text(NETS.replace("class Small", "class MyNet"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_file

    torch.save({f"module.{key}": value for key, value in my_file.MyNet(4, 100).state_dict().items()}, "my_weights.pth")
    words = ["fit", "--config=mine.yaml", "--trainer.max_epochs=1", "--model.batch_size=2", "--data.steps_per_epoch=1"]
    run_cli(*words, "--trainer.accelerator=cpu", "--data.eval_steps=1")
    assert run_card("unnamed")["student_share"] > 1
