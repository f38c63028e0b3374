"""The command line: configs, subcommands, folders of runs."""

import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest
import torch
import yaml
from helpers.commands import (
    CONFIGS,
    ROOT,
    TINY_DATA,
    TINY_TEACHER,
    TINY_TRAINER,
    few_fast,
    image_folder,
    printed,
    run_card,
    run_cli,
)
from helpers.tiny_imagenet_files import write as write_tiny_imagenet
from jsonschema import Draft202012Validator

from lightning_tasks import CNN, LeNet5, ResNet, StridedCNN
from tools.schema import config_schema

OF_IMAGES = [config for config in CONFIGS if not config.stem.startswith("quickdraw")]  # those in test_sketch_task.py
FITTED = {"mnist_by_hand"}


@pytest.mark.parametrize("config", few_fast({"mnist_by_hand", "dfad_plus_digits"}, CONFIGS, attrgetter("stem")))
def test_config_is_read_back_as_it_was_printed(config, capsys, tmp_path):
    first = printed(capsys, "fit", f"--config={config}")
    (tmp_path / "printed.yaml").write_text(first)
    again = printed(capsys, "fit", f"--config={tmp_path}/printed.yaml")
    assert yaml.safe_load(again) == yaml.safe_load(first)
    assert yaml.safe_load(first)["experiment"] == config.stem
    assert "Unable to serialize" not in first


@pytest.mark.parametrize("config", few_fast(FITTED, OF_IMAGES, attrgetter("stem")))
def test_config_is_fitted_tested_and_predicted(config, tmp_path, mnist_root, cifar_root):
    """A batch of everything, on small sets in the official file formats; a teacher has random weights."""
    limits = [f"--trainer.limit_{part}_batches=1" for part in ("train", "val", "test", "predict")]
    words = [f"--config={config}", f"--data.root={mnist_root}", "--data.eval_batch_size=6", *limits]
    words += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.max_epochs=1"]
    words += ["--plots=false", "--data.val_fraction=0.25", "--data.batch_size=8"]
    words += ["--data.train_per_class=null", "--data.test_per_class=null"]
    task = yaml.safe_load(config.read_text())["model"]
    options = task["init_args"]
    words += options_of_folder(tmp_path, config)
    if config.stem.startswith("tinyimagenet"):
        write_tiny_imagenet(mnist_root, count=8)
    if "network_ckpt" in options:
        network = ResNet(100, (3, 32, 32), **options["network"]["init_args"])
        torch.save(network.state_dict(), tmp_path / "network.pth")
        words += [f"--model.network_ckpt={tmp_path}/network.pth"]
    if "teacher_ckpt" in options:
        words += [f"--model.teacher_ckpt={untrained_teacher(tmp_path, options, config)}"]
        words += ["--trainer.check_val_every_n_epoch=1"]
    if task["class_path"] == "DFADTask":
        words += ["--model.batch_size=4", "--model.teacher_acc=null", "--model.generator_training.pretrain_epochs=0"]
    run_cli("fit", *words)
    card = run_card(config.stem)
    assert card["partial"] == {"train": 1, "val": 1, "test": 1}
    best = f"--ckpt_path=logs/{config.stem}/version_0/checkpoints/best.ckpt"
    tested = run_cli("test", *words, best)
    headline = card["headline"][0]
    assert tested.trainer.callback_metrics[headline].item() == card["metrics"][headline]
    predicted = run_cli("predict", *words, best)
    assert len(Path(predicted.trainer.log_dir, "predictions.csv").read_text().splitlines()) == 1 + 6


def options_of_folder(folder, config):
    """Images in one folder a class for a config that has some."""
    if "ImageFolderDataModule" not in config.read_text():
        return []
    classes = [f"class {number}" for number in range(10)]
    return [f"--data.folder={image_folder(folder / 'images', {'train': 8, 'test': 2}, classes)}"]


def untrained_teacher(folder, options, config):
    """A checkpoint of the teacher that a config names, with random weights."""
    if config.stem.startswith("tinyimagenet"):
        classes, network = 3, StridedCNN(3, (3, 64, 64))
    elif config.stem.endswith("mnist"):
        classes, network = 10, LeNet5(10, (1, 32, 32))
    elif config.stem.endswith("mnist_cnn"):
        classes, network = 10, CNN(10, (1, 28, 28), **options["teacher"]["init_args"])
    else:
        digits = "DigitsDataModule" in config.read_text()
        shape = (1, 16, 16) if digits else (3, 32, 32)
        classes = 10 if digits or config.stem.endswith("cifar10") else 100
        network = ResNet(classes, shape, **options["teacher"]["init_args"])
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    path = folder / "teacher.ckpt"
    torch.save({"state_dict": weights, "hyper_parameters": {"num_classes": classes}}, path)
    return path


@pytest.mark.slow
def test_help_of_the_installed_command_in_another_folder(tmp_path):
    command = Path(sys.executable).with_name("lightning-tasks")
    done = subprocess.run([command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("fit", "validate", "test", "predict"))


@pytest.fixture(scope="module")
def schema():
    return Draft202012Validator(config_schema())


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=attrgetter("stem"))
def test_schema_for_editors_accepts(path, schema):
    assert schema.is_valid(yaml.safe_load(path.read_text()))


@pytest.mark.slow
def test_schema_for_editors_refuses_a_typo(schema):
    config = yaml.safe_load((ROOT / "configs/mnist_mlp.yaml").read_text())
    network = config["model"]["init_args"]["network"]
    for path in ("torchvision.models.resnet18", "nets.Mine"):
        config["model"]["init_args"]["network"] = {"class_path": path, "init_args": {"width": 3}}
        assert schema.is_valid(config)
    config["model"]["init_args"]["network"] = network | {"init_args": {"widht": 3}}
    assert not schema.is_valid(config)
    config["model"]["init_args"] |= {"network": network, "netwrk": 5}
    assert not schema.is_valid(config)


def test_fit_writes_the_log_folder():
    run_cli("fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=2", "--seed_everything=7")
    run = Path("logs/teacher/version_0")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert (run / "config.yaml").is_file()
    assert list(run.glob("events.out.tfevents*"))
    card = run_card("teacher")
    assert card["experiment"] == "teacher"
    assert card["seed"] == 7
    assert card["epochs"] == 2
    assert card["seconds"] > 0
    assert card["peak_memory_mb"] > 50
    assert card["device"].startswith("1 x CPU")
    assert card["precision"] == "32-true"
    assert set(card["parameters"]) == {"network"}
    assert card["versions"]["torch"]
    assert card["command"].startswith("python cli.py fit --model=ClassificationTask")
    assert {"test/acc", "val/acc", "val/acc_last", "val/acc_mean"} <= set(card["metrics"])
    best = max(card["metrics"]["val/acc"], card["metrics"]["val/acc_last"])
    assert card["metrics"]["val/acc"] == best


def test_saved_config_runs_again():
    run_cli("fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1")
    run_cli("fit", "--config=logs/teacher/version_0/config.yaml")
    cards = [run_card("teacher", version)["metrics"] for version in (0, 1)]
    assert cards[0] == cards[1]


def test_test_validate_and_predict_use_a_checkpoint(teacher_ckpt, capsys):
    common = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, f"--ckpt_path={teacher_ckpt}"]
    tested = run_cli("test", *common).trainer.callback_metrics["test/acc"]
    assert tested > 0.5
    assert "val/acc" in run_cli("validate", *common).trainer.callback_metrics
    cli = run_cli("predict", *common)
    rows = Path(cli.trainer.log_dir, "predictions.csv").read_text().splitlines()
    assert rows[0] == "index,label,predicted,probability"
    assert len(rows) == 1 + 100
    right = sum(label == predicted for _, label, predicted, _ in (row.split(",") for row in rows[1:]))
    assert right / 100 == pytest.approx(float(tested))


@pytest.mark.slow
def test_last_checkpoint_can_be_tested_and_its_run_is_left_alone():
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=4"]
    with pytest.raises(FileNotFoundError, match="has left a last checkpoint"):
        run_cli("test", *words, "--ckpt_path=last")
    run_cli("fit", *words)
    run = Path("logs/teacher/version_0")
    saved = (run / "config.yaml").read_text()
    last = run_cli("test", *words, "--ckpt_path=last").trainer
    named = run_cli("test", *words, f"--ckpt_path={run}/checkpoints/last.ckpt").trainer
    assert last.callback_metrics["test/acc"] == named.callback_metrics["test/acc"]
    assert last.ckpt_path == str(run / "checkpoints/last.ckpt")
    assert (run / "config.yaml").read_text() == saved


@pytest.mark.slow
def test_debug_preset_draws_everything_and_its_card_says_that_it_is_partial():
    run_cli("fit", f"--config={ROOT}/configs/teacher_digits.yaml", "--trainer", f"{ROOT}/configs/trainer/debug.yaml")
    run = Path("logs/teacher_digits/version_0")
    assert {path.name for path in (run / "figures").iterdir()} == {"curves.png", "confusion.png"}
    assert (run / "checkpoints/best.ckpt").is_file()
    assert run_card("teacher_digits")["partial"] == {"train": 2, "val": 2, "test": 2}


def test_runs_get_folders_of_their_own():
    from lightning_tasks.runs.folders import claim_version

    folder = Path("logs/x")
    assert [claim_version(folder) for _ in range(3)] == [0, 1, 2]
    (folder / "version_9").mkdir()
    assert claim_version(folder) == 10
