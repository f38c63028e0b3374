"""The frozen teacher: where it comes from, what is said of it, and that it only answers."""

import functools
import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, refusal, refused, run_card, run_cli
from torch import nn

from lightning_tasks import ResNet
from lightning_tasks.frozen_teacher import FrozenTeacher
from lightning_tasks.networks import ImageNetwork, NetworkFile, build_network, count_parameters
from lightning_tasks.runs.checkpoints import file_hash, find_checkpoint

FACTS = {"dataset": "digits", "num_classes": 10, "image_shape": (1, 16, 16), "mean": (0.3053,), "std": (0.3186,)}
DFAD = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]


def teacher(**options):
    return FrozenTeacher(ResNet(10, (1, 16, 16), depth=10, width=4, **options))


def test_it_is_said_which_teacher_was_loaded(teacher_ckpt, capsys, caplog):
    caplog.set_level("INFO")
    teacher().load(str(teacher_ckpt), "teacher_ckpt", FACTS)
    accuracy = json.loads((teacher_ckpt.parents[1] / "run.json").read_text())["metrics"]["val/acc"]
    assert f"teacher: {teacher_ckpt} (teacher, val/acc {accuracy:.2%})" in caplog.text


def test_facts_of_the_teacher_are_kept(teacher_ckpt):
    assert teacher().load(str(teacher_ckpt), "teacher_ckpt", FACTS) == {
        "teacher_ckpt": str(teacher_ckpt),
        "teacher_sha256": file_hash(teacher_ckpt),
    }


def test_a_plain_state_dict_is_a_teacher(teacher_ckpt):
    source = teacher()
    source.load(str(teacher_ckpt), "teacher_ckpt", FACTS)
    torch.save(source.network.state_dict(), "plain.pt")
    other = teacher()
    other.load("plain.pt", "teacher_ckpt", FACTS)
    x = torch.randn(3, 1, 16, 16)
    assert torch.equal(other(x), source(x))


def test_what_else_a_foreign_file_holds_means_nothing(teacher_ckpt):
    source = teacher()
    source.load(str(teacher_ckpt), "teacher_ckpt", FACTS)
    torch.save({"model": source.network.state_dict(), "run": "exp1", "data_spec": "x"}, "plain.pt")
    other = teacher()
    other.load("plain.pt", "teacher_ckpt", FACTS)
    assert other.accuracy is None
    assert source.accuracy > 0.5


class TestPlaces:
    """Which file a path means."""

    @pytest.fixture
    def runs(self, teacher_ckpt):
        """Three finished runs, the third on a part of the data, and a fourth that is under way."""
        for version in range(4):
            folder = Path(f"logs/t/version_{version}")
            (folder / "checkpoints").mkdir(parents=True)
            (folder / "checkpoints/best.ckpt").write_text(str(version))
            if version < 3:
                (folder / "run.json").write_text(json.dumps({"partial": {"train": 1}} if version == 2 else {}))
        return Path("logs/t")

    def test_the_newest_whole_finished_run(self, runs):
        assert find_checkpoint(str(runs), "x").read_text() == "1"

    def test_a_damaged_card_finishes_no_run(self, runs, capsys):
        (runs / "version_1/run.json").write_text("{")
        assert find_checkpoint(str(runs), "x").read_text() == "0"
        assert "skipped: logs/t/version_1/run.json is no run card" in capsys.readouterr().err

    def test_a_partial_run_only_if_there_is_no_other(self, runs):
        for version in (0, 1):
            shutil.rmtree(runs / f"version_{version}")
        assert find_checkpoint(str(runs), "x").read_text() == "2"

    def test_a_named_run_or_file(self, runs):
        assert find_checkpoint(str(runs / "version_0"), "x").read_text() == "0"
        assert find_checkpoint(str(runs / "version_3"), "x").read_text() == "3"
        file = runs / "version_3/checkpoints/best.ckpt"
        assert find_checkpoint(str(file), "x") == file

    def test_none(self, runs):
        (runs / "version_10").mkdir()
        with pytest.raises(FileNotFoundError, match="x: no checkpoint at logs/t/version_10"):
            find_checkpoint(str(runs / "version_10"), "x")

    def test_ten_is_newer_than_nine(self, runs):
        for version in (9, 10):
            shutil.copytree(runs / "version_1", runs / f"version_{version}")
            (runs / f"version_{version}/checkpoints/best.ckpt").write_text(str(version))
        assert find_checkpoint(str(runs), "x").read_text() == "10"


@pytest.mark.slow
def test_a_student_is_tested_with_the_teacher_of_its_checkpoint(teacher_ckpt, capsys):
    """Another teacher has become the newest since."""
    run = Path("logs/teacher/version_0")
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(teacher_ckpt, run / "checkpoints/best.ckpt")
    (run / "run.json").write_text("{}")
    run_cli(*DFAD, "--model.teacher_ckpt=logs/teacher")
    card = run_card()
    newer = Path("logs/teacher/version_1")
    shutil.copytree(run, newer)
    checkpoint = torch.load(teacher_ckpt, weights_only=True)
    checkpoint["state_dict"]["network.fc.bias"] += torch.arange(10)
    torch.save(checkpoint, newer / "checkpoints/best.ckpt")
    best = "--ckpt_path=logs/dfad/version_0/checkpoints/best.ckpt"
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--model.teacher_ckpt=logs/teacher", best]
    metrics = run_cli("test", *words).trainer.callback_metrics
    assert metrics["test/acc_teacher"].item() == card["metrics"]["test/acc_teacher"]
    assert metrics["test/agreement"].item() == card["metrics"]["test/agreement"]
    Path("logs/teacher").rename("logs/away")
    run_cli("predict", *words)  # needs no teacher at all
    Path("logs/away").rename("logs/teacher")
    # A run resumes the teacher that it has started with.
    run_cli(*DFAD, "--model.teacher_ckpt=logs/teacher", "--trainer.max_epochs=2", "--ckpt_path=last")
    assert run_card()["teacher_sha256"] == card["teacher_sha256"]
    assert run_card()["epochs"] == 2


class Small(ImageNetwork):
    """A convolution with BatchNorm and a classifier."""

    def __init__(self, num_classes, image_shape):
        super().__init__(num_classes, image_shape)
        self.conv = nn.Conv2d(1, 2, 1)
        self.bn = nn.BatchNorm2d(2)
        self.classifier = nn.Linear(2, num_classes)


class Deciding(Small):
    """A network that torch.fx cannot trace: it branches on a value."""

    def forward(self, x):
        y = self.bn(self.conv(x)).mean((2, 3))
        return self.classifier(y if y.sum() > 0 else -y)


def test_a_network_with_a_branch_can_teach(caplog):
    caplog.set_level("INFO")
    network = Deciding(10, (1, 16, 16))
    torch.save(network.state_dict(), "plain.pt")
    frozen = FrozenTeacher(Deciding(10, (1, 16, 16)))
    frozen.load("plain.pt", "teacher_ckpt", FACTS)
    assert "used as it is, since its BatchNorm cannot be folded" in caplog.text
    x = torch.randn(3, 1, 16, 16, requires_grad=True)
    assert torch.equal(frozen(x), network.eval()(x))
    assert torch.autograd.grad(frozen(x).sum(), x)[0].abs().sum() > 0


class Halving(Small):
    """A network of which tracing keeps one branch only: what is folded would answer otherwise than the network."""

    def forward(self, x):
        scale = 1.0 if isinstance(x, torch.fx.Proxy) else 0.5
        return self.classifier(scale * self.bn(self.conv(x)).mean((2, 3)))


def test_folding_that_changes_the_answers_is_not_used(caplog):
    caplog.set_level("INFO")
    network = Halving(10, (1, 16, 16))
    torch.save(network.state_dict(), "plain.pt")
    frozen = FrozenTeacher(Halving(10, (1, 16, 16)))
    frozen.load("plain.pt", "teacher_ckpt", FACTS)
    assert "cannot be folded" in caplog.text
    x = torch.randn(3, 1, 16, 16)
    assert torch.equal(frozen(x), network.eval()(x))


def test_it_is_folded_for_speed_and_whole_at_hand(teacher_ckpt):
    frozen = teacher()
    frozen.load(str(teacher_ckpt), "teacher_ckpt", FACTS)
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) for net in (frozen.network, frozen.fast)]
    assert norms[0] > 0 == norms[1]
    x = torch.randn(5, 1, 16, 16)
    torch.testing.assert_close(frozen(x), frozen.network(x), atol=1e-4, rtol=1e-4)
    frozen.train()
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@pytest.mark.slow
def test_the_card_counts_the_networks_as_their_config_made_them(teacher_ckpt):
    run_cli(*DFAD, f"--model.teacher_ckpt={teacher_ckpt}")
    card = run_card()
    assert card["parameters"]["teacher"] == count_parameters(ResNet(10, (1, 16, 16), depth=10, width=4))
    assert card["parameters_trained"] == card["parameters"]["student"] + card["parameters"]["generator"]


def test_a_teacher_of_other_data_is_refused(teacher_ckpt):
    with pytest.raises(ValueError, match=r"teacher_ckpt: .* was trained with dataset digits; this run has letters"):
        teacher().load(str(teacher_ckpt), "teacher_ckpt", FACTS | {"dataset": "letters"})


def test_weights_that_do_not_fit_are_refused(teacher_ckpt):
    frozen = FrozenTeacher(ResNet(10, (1, 16, 16), depth=10, width=8))
    with pytest.raises(ValueError, match="do not fit ResNet"):
        frozen.load(str(teacher_ckpt), "teacher_ckpt", FACTS)


def test_the_averaged_weights_of_a_checkpoint(tmp_path, teacher_ckpt):
    made = torch.load(teacher_ckpt, weights_only=True)
    raw = {name: value for name, value in made["state_dict"].items() if name.startswith("network.")}
    averaged = {name.replace("network.", "ema.module.", 1): value + 1 for name, value in raw.items()}
    made["state_dict"] = raw | averaged | {"ema.n_averaged": torch.tensor(7)}
    made["run"]["validation"] = {"val/acc": 0.6, "val/acc_ema": 0.7}
    torch.save(made, tmp_path / "a.ckpt")
    for ema, offset, accuracy in ((False, 0, 0.6), (True, 1, 0.7)):
        frozen = teacher()
        frozen.load(str(tmp_path / "a.ckpt"), "teacher_ckpt", FACTS, ema)
        assert torch.equal(frozen.network.conv1.weight, raw["network.conv1.weight"] + offset)
        assert frozen.accuracy == accuracy
    with pytest.raises(ValueError, match=r"has no averaged weights; train it with ema_decay"):
        teacher().load(str(teacher_ckpt), "teacher_ckpt", FACTS, True)
    with pytest.raises(ValueError, match="has no averaged weights"):
        run_cli(*DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--model.teacher_ema=true")


class TestTeacherAccuracy:
    WORDS = ("fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1")

    @pytest.mark.slow
    def test_it_is_said_at_the_start(self, teacher_ckpt, caplog):
        caplog.set_level("INFO")
        cli = run_cli(*self.WORDS, f"--model.teacher_ckpt={teacher_ckpt}")
        data, teacher = cli.datamodule, cli.model.teacher
        images, labels = data.val_set.images, data.val_set.labels
        right = (teacher(data.normalise(images.float() / 255)).argmax(1) == labels).float().mean().item()
        said = [line for line in caplog.messages if line.startswith("teacher: ") and "images" in line]
        assert said == [f"teacher: {right:.1%} of {len(labels):,} validation images right"]
        assert teacher.accuracy == pytest.approx(right)

    @pytest.mark.slow
    def test_a_teacher_that_is_worse_than_said_stops_the_run(self, tmp_path, teacher_ckpt):
        line = refusal(tmp_path, *self.WORDS, f"--model.teacher_ckpt={teacher_ckpt}", "--model.teacher_acc=1.0",
                       "--data.mean=[0.9]", "--data.std=[0.05]")  # fmt: skip
        assert "was trained with mean" in line  # a checkpoint of this project knows
        weights = torch.load(teacher_ckpt, weights_only=True)["state_dict"]
        torch.save(weights, tmp_path / "a.pth")
        words = [*self.WORDS, "--model.teacher_ckpt=a.pth", "--data.mean=[0.9]", "--data.std=[0.05]"]
        line = refusal(tmp_path, *words, "--model.teacher_acc=0.95")
        assert "validation images right, and teacher_acc says 95.0%; are the classes, their order, data.mean" in line
        assert not list(tmp_path.rglob("run.json"))
        run_cli(*words)  # nobody knows better
        assert "teacher_acc must be in [0, 1], got 95" in refused(tmp_path, *words, "--model.teacher_acc=95")

    def test_its_checkpoint_knows(self, tmp_path, teacher_ckpt):
        checkpoint = torch.load(teacher_ckpt, weights_only=True)
        order = torch.arange(10).roll(1)
        for name in ("network.fc.weight", "network.fc.bias"):
            checkpoint["state_dict"][name] = checkpoint["state_dict"][name][order]
        torch.save(checkpoint, tmp_path / "a.ckpt")
        line = refusal(tmp_path, *self.WORDS, "--model.teacher_ckpt=a.ckpt")
        assert "and its checkpoint says" in line


class Normalised(nn.Module):
    """A user's network: weights under a parametrization."""

    def __init__(self, num_classes, image_shape):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(image_shape[0], 4, 3))
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).relu().mean(dim=(2, 3)))


def scripted(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, and people have such files
        torch.jit.script(torchvision.models.resnet18(num_classes=10).eval()).save(path)
    return functools.partial(NetworkFile, path=path)


@pytest.mark.parametrize(
    "network",
    [
        lambda: functools.partial(ResNet, depth=10, width=4),
        lambda: Normalised,
        lambda: functools.partial(torchvision.models.resnet18, num_classes=10),
        lambda: scripted("net.pt"),
    ],
    ids=["ResNet", "weight norm", "torchvision", "TorchScript"],
)
def test_what_answers_goes_along_to_another_precision(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    teacher = FrozenTeacher(build_network(network(), 10, (3, 32, 32)))
    torch.save(teacher.network.inner.state_dict(), "weights.pt")
    teacher.load("weights.pt", "teacher_ckpt", {})
    x = torch.randn(4, 3, 32, 32)
    expected = teacher.network(x)
    task = nn.Sequential(teacher).to(torch.float64)
    found = task(x.double())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3)


def test_it_is_no_part_of_what_learns():
    task = nn.Sequential(nn.BatchNorm2d(1), teacher())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(task)
    assert isinstance(converted[0], nn.SyncBatchNorm)
    assert len(converted[1].batchnorms) == 12
    assert all(type(each) is nn.BatchNorm2d for each in converted[1].batchnorms)
    assert not [name for name in converted.state_dict() if name.startswith("1.")]
    assert not list(converted[1].buffers())
    assert not any(each.training for each in converted.train()[1].network.modules())
