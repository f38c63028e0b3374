"""Training the last layers of a network."""

import copy

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_TRAINER, image_folder, make_trainer, refused, run_card, run_cli

from datamodules import DigitsDataModule
from datamodules.augment import BatchRandomFlip
from lightning_tasks import MLP, ClassificationTask, ResNet, WideResNet
from lightning_tasks.callbacks.summary import summary
from lightning_tasks.classification.fine_tuning import FrozenStart, decay_rates, groups_by_depth, load_pretrained
from lightning_tasks.networks import cut_into_layers

SHAPE = (1, 16, 16)


def resnet(num_classes=10, image_shape=SHAPE, **options):
    return ResNet(num_classes, image_shape, depth=10, width=2, **options)


def make(trained_layers=2, augment=None, network=resnet, **options):
    data = DigitsDataModule(batch_size=50, train_per_class=10, augment=augment)
    return ClassificationTask(data.data_spec, network=network, trained_layers=trained_layers, **options), data


def holds_features(data):
    return {part.images.dtype for part in (data.train_set, data.val_set)} == {torch.float32}


def test_layers_hold_what_follows_them():
    found = [[type(part).__name__ for part in layer] for layer in cut_into_layers(resnet())]
    assert found == [
        ["Identity", "Conv2d", "BatchNorm2d", "ReLU", "Identity"],
        *[["BasicBlock"]] * 3,
        ["BasicBlock", "GlobalAveragePool"],
        ["Linear"],
    ]
    mlp = cut_into_layers(MLP(10, SHAPE, (4, 3), normalisation="batch"))
    assert [len(layer) for layer in mlp] == [4, 3, 1]
    assert len(cut_into_layers(WideResNet(10, SHAPE, depth=10, width=1))) == 1


@pytest.mark.parametrize("cached", [True, False])
def test_frozen_layers_do_not_move(cached):
    """Neither weights nor statistics, with kept features and with images that are augmented."""
    task, data = make(trained_layers=2, augment=None if cached else [BatchRandomFlip(0.0)])
    before = copy.deepcopy(task.network.state_dict())
    kept = []
    task.on_train_epoch_end = lambda: kept.append(holds_features(data))
    make_trainer(max_epochs=2, limit_val_batches=1.0).fit(task, data)
    moved = {
        name.split(".")[0] for name, value in task.network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"layer4", "fc"}
    assert kept == [cached] * 2
    assert not holds_features(data)
    make_trainer(limit_val_batches=1.0).validate(task, data, verbose=False)  # of images again


def test_features_that_are_kept_train_the_same_weights():
    found = []
    for augment in (None, [BatchRandomFlip(0.0)]):
        torch.manual_seed(0)
        task, data = make(3, augment)
        trainer = make_trainer(max_epochs=3, limit_val_batches=1.0)
        trainer.fit(task, data)
        found.append((task.network.state_dict(), trainer.callback_metrics["val/loss"]))
        x = data.normalise(data.test_set.images[:5].float() / 255)
        found[-1][0]["answer"] = task.eval()(x).detach()
    for name, value in found[0][0].items():
        torch.testing.assert_close(value, found[1][0][name], rtol=1e-3, atol=1e-4)
    assert found[0][1] == pytest.approx(found[1][1].item(), rel=1e-4)


def test_nothing_is_kept_where_mirrored_images_are_asked_for():
    task, data = make(2, test_time_flip=True)
    kept = []
    task.on_train_epoch_end = lambda: kept.append(holds_features(data))
    make_trainer(limit_val_batches=1.0).fit(task, data)
    assert kept == [False]


def test_the_average_is_validated_on_features_too():
    task, data = make(2, ema_decay=0.5)
    trainer = make_trainer(max_epochs=1, limit_val_batches=1.0)
    trainer.fit(task, data)
    logged = trainer.callback_metrics["val/loss_ema"]
    assert data.val_set.images.dtype == torch.uint8  # images again
    x, y = data.normalise(data.val_set.images.float() / 255), data.val_set.labels
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(task.ema.module.eval()(x), y)
    assert logged == pytest.approx(expected.item(), rel=1e-4)
    again = make_trainer(limit_val_batches=1.0).validate(task, data, verbose=False)[0]
    assert again["val/loss_ema"] == pytest.approx(expected.item(), rel=1e-4)


def test_features_of_a_network_in_half_precision():
    task, data = make(2)
    trainer = make_trainer(limit_val_batches=1.0, precision="bf16-true")
    trainer.fit(task, data)
    assert trainer.callback_metrics["train/loss"] > 0


def test_all_layers_or_none_too_many():
    assert not len(FrozenStart(resnet(), 6).start)
    for wrong in (0, 7, -1):
        with pytest.raises(ValueError, match=f"trained_layers must be 1 to 6, the layers of this ResNet, got {wrong}"):
            FrozenStart(resnet(), wrong)


class Whole(torch.nn.Module):
    """A network of somebody else, whose parts nobody knows."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 5), torch.nn.Linear(5, 10))

    def forward(self, x):
        return self.layers(x)


ONE_LAYER = {
    "somebody else's": Whole,
    "of this project": lambda: WideResNet(10, SHAPE, depth=10, width=1),
    "a single layer": lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 10)),
}


@pytest.mark.parametrize("kind", ONE_LAYER)
@pytest.mark.parametrize("option", [{"trained_layers": 1}, {"layer_decay": 0.5}, {"trained_layers": 2}])
def test_options_of_layers_are_refused_where_there_is_one(kind, option):
    network = ONE_LAYER[kind]()
    name = "Sequential" if kind == "a single layer" else type(network).__name__
    with pytest.raises(ValueError, match=f"{next(iter(option))}: {name} counts as one layer, since its parts are not"):
        make(network=network, **{"trained_layers": None, **option})
    make(network=network, trained_layers=None, layer_decay=1.0)


def test_parts_of_somebody_elses_sequence_are_layers():
    task, _ = make(network=Whole().layers, trained_layers=1, layer_decay=0.5)
    assert [[len(each["params"]) for each in groups_by_depth(task.network)]] == [[2]]
    with pytest.raises(ValueError, match="trained_layers must be 1 to 2, the layers of this Sequential, got 3"):
        make(network=Whole().layers, trained_layers=3)


@pytest.mark.parametrize("builder", ["resnet18", "vit_b_16"])
def test_weights_for_other_classes(builder, tmp_path):
    words = ["fit", "--model=ClassificationTask", f"--model.network=torchvision.models.{builder}", *TINY_TRAINER]
    words += ["--model.network.weights=IMAGENET1K_V1", "--data=DigitsDataModule"]
    line = refused(tmp_path, *words)
    assert "IMAGENET1K_V1 is for other classes than the 10 of the data" in line
    assert "with network_ckpt: <Network>_Weights.<NAME>" in line


def test_the_count_of_trained_parameters_is_said_and_in_the_card(capfd, caplog):
    words = ["--model=ClassificationTask", "--model.network=ResNet", "--model.network.depth=10"]
    words += ["--model.network.width=4", "--model.trained_layers=1", "--experiment=a", "--trainer.max_epochs=1"]
    with caplog.at_level("INFO"):
        run_cli("fit", *words, *TINY_DATA, *TINY_TRAINER)
    assert "the last 1 of 6 layers are trained, 330 of 19,830 parameters" in caplog.text
    assert run_card("a")["parameters_trained"] == 330
    # Of images of 16 x 16: the first convolution, four blocks of two, three shortcuts, the last layer.
    multiply_adds = 256 * 9 * (4 + 16 + 16) + 64 * (9 * (32 + 64) + 32) + 16 * (9 * (128 + 256) + 128)
    multiply_adds += 4 * (9 * (512 + 1024) + 512) + 320
    assert run_card("a")["multiply_adds"] == {"network": multiply_adds}


def test_rates_by_depth():
    network = MLP(10, SHAPE, (4, 3))
    optimizer = torch.optim.SGD(groups_by_depth(network), lr=1.0)
    assert [group["params"][0].shape[0] for group in optimizer.param_groups] == [10, 3, 4]
    decay_rates(optimizer, None, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [1, 0.5, 0.25]
    schedules = {
        "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
        "one cycle": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 3.0, 10),
        "cyclic": lambda optimizer: torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 3.0, step_size_up=4),
        "warm-up": lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7),
            ],
            [3],
        ),
    }
    for make_schedule in schedules.values():
        optimizer = torch.optim.SGD(groups_by_depth(network), lr=1.0, momentum=0.9)
        schedule = make_schedule(optimizer)
        decay_rates(optimizer, schedule, 0.5)
        for _ in range(10):
            rates = [group["lr"] for group in optimizer.param_groups]
            assert rates == pytest.approx([rates[0], rates[0] / 2, rates[0] / 4])
            optimizer.step()
            if _ < 9:
                schedule.step()
    task, _ = make(None, layer_decay=0.5, optimizer=lambda params: torch.optim.SGD(params, lr=1.0))
    assert [group["lr"] for group in task.configure_optimizers()["optimizer"].param_groups] == [
        0.5**n for n in range(6)
    ]
    FrozenStart(network, 2)
    assert len(groups_by_depth(network)) == 2  # the frozen have none
    with pytest.raises(ValueError, match="layer_decay must be in"):
        make(2, layer_decay=0.0)


class TestWeights:
    @pytest.fixture
    def path(self, tmp_path):
        torch.save(resnet().state_dict(), tmp_path / "network.pth")
        return tmp_path / "network.pth"

    def test_a_plain_state_dict(self, path):
        network = resnet()
        load_pretrained(network, str(path))
        theirs = torch.load(path, weights_only=True)
        assert all(torch.equal(value, theirs[name]) for name, value in network.state_dict().items())

    def test_another_number_of_classes_has_a_fresh_head(self, path, caplog):
        network = resnet(num_classes=7)
        fresh = network.fc.weight.clone()
        with caplog.at_level("INFO"):
            load_pretrained(network, str(path))
        theirs = torch.load(path, weights_only=True)
        assert torch.equal(network.fc.weight, fresh)
        assert torch.equal(network.layer4[0].conv2.weight, theirs["layer4.0.conv2.weight"])
        assert "fc.weight, fc.bias start anew" in caplog.text

    def test_a_missing_count_of_batches_is_fine(self, path):
        weights = {name: value for name, value in resnet().state_dict().items() if "tracked" not in name}
        torch.save(weights, path)
        load_pretrained(resnet(), str(path))

    @pytest.mark.parametrize(
        ("network", "message"),
        [
            (
                lambda: resnet(image_shape=(3, 16, 16)),
                r"1 of another shape \(conv1.weight \(2, 1, 3, 3\) for \(2, 3, 3, 3\)\)",
            ),
            (lambda: ResNet(10, SHAPE, depth=18, width=2), r"\d+ missing \(layer1.1.conv1.weight, .*\)$"),
            (
                lambda: MLP(10, SHAPE),
                r"do not fit MLP: 6 missing \(layers.1.weight, .*; \d+ not in the network \(conv1",
            ),
        ],
    )
    def test_of_another_network(self, path, network, message):
        with pytest.raises(ValueError, match=message):
            load_pretrained(network(), str(path))

    def test_of_torchvision_without_a_network(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))

        def refuse(*_, **__):
            raise OSError("no route")

        monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
        with pytest.raises(
            OSError, match=r"ResNet18_Weights.IMAGENET1K_V1 is not in .* cannot be fetched \(no route\)"
        ):
            load_pretrained(resnet(), "ResNet18_Weights.IMAGENET1K_V1")

    def test_of_torchvision_from_its_hub(self, monkeypatch, tmp_path):
        """Torchvision's own network in the official file's place: names and shapes are those of the ResNet here."""
        import torchvision

        weights = torchvision.models.resnet18().state_dict()
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        (tmp_path / "hub/checkpoints").mkdir(parents=True)
        torch.save(weights, tmp_path / "hub/checkpoints/resnet18-f37072fd.pth")
        network = ResNet(10, (3, 32, 32), depth=18, stem="imagenet", enlarge=2)
        assert load_pretrained(network, "ResNet18_Weights.IMAGENET1K_V1") == "f37072fd"
        assert torch.equal(network.layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])

    def test_a_run_starts_from_them_and_says_which(self, path, tmp_path):
        folder = image_folder(tmp_path / "images", {"train": 8, "test": 2}, ["a", "b"], size=(16, 16))
        torch.save(resnet(10, (3, 16, 16)).state_dict(), path)
        words = ["--model=ClassificationTask", "--model.network=ResNet", "--model.network.depth=10"]
        words += ["--model.network.width=2", f"--model.network_ckpt={path}", "--model.trained_layers=1"]
        words += ["--data=ImageFolderDataModule", f"--data.folder={folder}", "--data.val_fraction=0.25"]
        task = run_cli(
            "fit", *words, *TINY_TRAINER, "--trainer.max_epochs=1", "--experiment=a"
        ).trainer.lightning_module
        assert torch.equal(task.network.conv1.weight, torch.load(path, weights_only=True)["conv1.weight"])
        assert len(run_card("a")["network_sha256"]) == 64


def test_summary_has_a_row_a_layer():
    network = MLP(10, (1, 2, 3), (4,), normalisation="batch").eval()
    FrozenStart(network, 1)
    table = summary("network", network, torch.zeros(1, 1, 2, 3))
    assert list(zip(*(column.cells for column in table.columns), strict=True)) == [
        ("Linear", "4", "32", "0", "24"),  # 6 * 4 weights and 8 of the normalisation
        ("Linear", "10", "50", "50", "40"),
        ("all", "", "82", "50", "64"),
    ]
    teacher = summary("teacher", network.requires_grad_(False), torch.zeros(1, 1, 2, 3))
    assert list(zip(*(column.cells for column in teacher.columns), strict=True)) == [("all", "", "82", "0", "")]
