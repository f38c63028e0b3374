"""What TensorBoard and other loggers get to show: values by epochs, options and final metrics, images."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import (
    TINY_DATA,
    TINY_DFAD,
    TINY_TRAINER,
    files,
    make_trainer,
    run_card,
    run_cli,
)
from helpers.events import read, scalars
from helpers.scripted import ANSWERS, LABELS, PROBABILITIES, SCRIPTED
from PIL import Image
from pytorch_lightning.loggers import Logger
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.backend_context import _sort_and_reduce_to_hparams_limit

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.callbacks import LearningRates


def steps(events):
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


VALUES = {
    "val/acc": [0.4, 0.8, 0.6, 0.5],
    "train/acc": [0.2, 0.4, 0.5, 0.6],
    "test_curve/acc": [0.1, 0.7, 0.3, 0.9],
    "lr": [1e-9, 1e-9, 1e-10, 1e-10],
}


@pytest.mark.slow
def test_x_axis_counts_epochs_also_of_a_resumed_run():
    words = ["fit", *SCRIPTED, "--trainer.callbacks=[TestCurve,CurvesPlot,ConfusionPlot]"]
    words += ["--model.optimizer.lr=1e-9", "--model.scheduler=torch.optim.lr_scheduler.StepLR"]
    words += ["--model.scheduler.step_size=2", "--trainer.log_every_n_steps=1"]
    run_cli(*words, "--trainer.max_epochs=3")
    run_cli(*words, "--trainer.max_epochs=4", "--ckpt_path=last")
    events = read("logs/scripted/version_0")
    for tag, values in VALUES.items():
        assert scalars(events, tag) == list(enumerate(values, start=1))
    losses = {f"{stage}/loss" for stage in ("train", "val", "test_curve")}
    assert {*events.Tags()["scalars"]} == {*VALUES, *losses}  # no chart of one point, and none of the test
    assert steps(events) == {"test/confusion": [3, 4]}  # and no picture of curves


def table(events):
    """Columns of the table of hyper-parameters in TensorBoard's order, and the values of the run."""

    def of(tag):
        return events.summary_metadata[tag].plugin_data.content

    experiment = metadata.parse_experiment_plugin_data(of(metadata.EXPERIMENT_TAG))
    _sort_and_reduce_to_hparams_limit(experiment)
    assert metadata.SESSION_END_INFO_TAG in events.summary_metadata
    values = metadata.parse_session_start_info_plugin_data(of(metadata.SESSION_START_INFO_TAG)).hparams
    return [each.name for each in experiment.hparam_infos], values


def test_final_metrics_come_first_in_the_table_of_hyperparameters_and_then_options():
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=4", "--seed_everything=7")
    events = read("logs/scripted/version_0")
    metrics = run_card("scripted")["metrics"]
    assert metrics["val/acc"] != metrics["val/acc_last"]
    columns, options = table(events)
    assert columns[:2] == ["test/acc", "val/acc"]
    assert {*columns} == {*options}
    for name, value in metrics.items():
        assert options[name].number_value == value
    assert options["seed"].number_value == 7
    assert options["model"].string_value == "lightning_tasks.ClassificationTask"
    assert options["model.network"].string_value == "helpers.scripted.ScriptedNetwork"
    assert options["model.network.batches_per_epoch"].number_value == 3
    assert options["data.batch_size"].number_value == 4
    assert options["trainer.max_epochs"].number_value == 4


def test_the_table_of_a_run_that_was_trained_on_has_its_new_metrics():
    words = ["fit", *SCRIPTED, "--checkpoint_best.monitor=val/loss", "--checkpoint_best.mode=min"]
    run_cli(*words, "--trainer.max_epochs=2")
    assert table(read("logs/scripted/version_0"))[1]["test/acc"].number_value == pytest.approx(0.7)
    run_cli(*words, "--trainer.max_epochs=3", "--ckpt_path=last")
    columns, values = table(read("logs/scripted/version_0"))
    assert columns[:2] == ["test/acc", "val/loss"]
    assert values["test/acc"].number_value == run_card("scripted")["metrics"]["test/acc"] == pytest.approx(0.3)


@pytest.mark.slow
@pytest.mark.parametrize("subcommand", ["test", "validate", "predict"])
def test_an_evaluation_of_a_run_is_no_other_run(subcommand):
    callbacks = "--trainer.callbacks=ConfusionPlot"
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=2", callbacks)
    before = files("logs/scripted/version_0")
    logger = ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=elsewhere"]
    for words in ([], logger):
        run_cli(subcommand, *SCRIPTED, "--ckpt_path=last", callbacks, *words)
    assert [path.parent.name for path in Path().rglob("events*") if "version_0" not in str(path)] == []
    assert files("logs/scripted/version_0") == before
    for number in (1, 2):
        folder = Path(f"logs/scripted/version_{number}")  # with its own files
        assert (folder / "config.yaml").is_file()
        assert (folder / "figures/confusion.png").is_file() == (subcommand == "test")


def layout(events):
    """Tags of each chart of Custom Scalars, by category and title."""
    (tensor,) = events.Tensors("custom_scalars__config__")[-1:]
    found = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    return {each.title: {chart.title: [*chart.multiline.tag] for chart in each.chart} for each in found.category}


def test_custom_scalars_of_a_classifier():
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=4", "--trainer.check_val_every_n_epoch=2")
    events = read("logs/scripted/version_0")
    assert layout(events) == {  # also of what is validated after the second epoch only
        "ClassificationTask": {
            "accuracy": ["val/acc$", "train/acc$"],
            "cross-entropy": ["val/loss$", "train/loss$"],
        },
        "ClassificationTask: diagnostics": {},
    }


@pytest.mark.slow
def test_custom_scalars_of_a_student_its_teacher_and_synthetic_images(teacher_ckpt):
    words = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}"]
    callbacks = "[{class_path: GeneratedPlot, init_args: {num_images: 16}},ConfusionPlot,SelectionPlot,CurvesPlot]"
    cli = run_cli(*words, "--plots=true", "--trainer.max_epochs=2", f"--trainer.callbacks={callbacks}")
    events = read("logs/dfad/version_0")
    charts = layout(events)
    assert charts["DFADTask"] == {
        "accuracy on validation images": ["val/acc$", "val/acc_teacher$"],
        "agreement with the teacher": ["val/agreement$", "val/agreement_synthetic$", "train/agreement$"],
        "loss of the student": ["train/loss_student$"],
        "loss of the generator": ["train/loss_generator$"],
    }
    health = charts["DFADTask: diagnostics"]
    assert health["synthetic images: classes"] == ["train/class_entropy$"]
    assert health["synthetic images: distance"] == ["train/pairwise_distance$"]
    tags = {*events.Tags()["scalars"]}
    drawn = {tag.removesuffix("$") for category in charts.values() for chart in category.values() for tag in chart}
    assert drawn == tags
    teacher = cli.model.constants["val/acc_teacher"]
    assert scalars(events, "val/acc_teacher") == [(1, teacher), (2, teacher)]
    assert min(len(events.Scalars(tag)) for tag in tags) == 2
    assert sorted({*events.Tags()["images"], *tags})[0] == "images/generated"
    assert steps(events) == {"images/generated": [2], "test/confusion": [2], "val/selection": [2]}


def test_tensorboard_shows_the_picture_of_the_folder():
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=1", "--trainer.callbacks=ConfusionPlot")
    run = Path("logs/scripted/version_0")
    (event,) = read(run).Images("test/confusion")
    shown = Image.open(io.BytesIO(event.encoded_image_string))
    assert np.array_equal(shown, Image.open(run / "figures/confusion.png").convert("RGB"))


class ImageLogger(Logger):
    """Another logger, which holds images."""

    def __init__(self, save_dir: str = "anywhere") -> None:
        super().__init__()
        self.folder = save_dir
        self.images: list = []

    name = version = "image"

    @property
    def save_dir(self):
        return self.folder

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_image(self, key, images, step=None):
        self.images += [(key, Path(image), step) for image in images]


class TestOtherLoggers:
    CURVES = "--trainer.callbacks=[CurvesPlot,ConfusionPlot]"

    def fit(self, *words):
        cli = run_cli("fit", *SCRIPTED, "--trainer.max_epochs=2", self.CURVES, *words)
        run = Path("logs/scripted/version_0").resolve()
        assert sorted(path.name for path in run.glob("figures/*")) == ["confusion.png", "curves.png"]
        assert (run / "run.json").is_file()
        assert (run / "config.yaml").is_file()
        assert {path.name for path in Path().iterdir()} == {"data", "logs"}
        assert [path.name for path in Path("logs/scripted").iterdir()] == ["version_0"]
        return cli, run

    def test_csv(self):
        _, run = self.fit("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=elsewhere")
        assert (run / "metrics.csv").read_text().startswith("epoch,")
        assert not list(run.glob("events*"))

    def test_tensorboard_named_in_a_config_counts_epochs_too(self):
        options = {"save_dir": "elsewhere"}
        loggers = [{"class_path": name, "init_args": options} for name in ("CSVLogger", "TensorBoardLogger")]
        _, run = self.fit(f"--trainer.logger={json.dumps(loggers)}")
        assert (run / "metrics.csv").is_file()
        events = read(run)
        assert scalars(events, "val/acc") == [(1, 0.4), (2, 0.8)]
        assert table(events)[0][:2] == ["test/acc", "val/acc"]
        assert steps(events) == {"test/confusion": [2]}

    def test_one_that_holds_images(self):
        cli, run = self.fit("--trainer.logger=test_tensorboard.ImageLogger")
        logger = cli.trainer.logger
        assert logger.save_dir == str(run)
        assert logger.images == [("test/confusion", run / "figures/confusion.png", 2)]

    def test_none(self):
        self.fit("--trainer.logger=false")


@pytest.mark.slow
def test_rates_of_two_players_and_of_none(teacher_ckpt):
    """Names of the schedules; a run without one has a constant rate, which its options tell."""
    words = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}"]
    words += ["--trainer.max_epochs=2"]
    for name, rate in (("student", 0.1), ("generator", 0.01)):
        words += [f"--model.scheduler_{name}=torch.optim.lr_scheduler.ExponentialLR"]
        words += [f"--model.scheduler_{name}.gamma=0.5", f"--model.optimizer_{name}.lr={rate}"]
    run_cli(*words)
    events = read("logs/dfad/version_0")
    assert scalars(events, "lr/student") == [(1, 0.1), (2, 0.05)]
    assert scalars(events, "lr/generator") == [(1, 0.01), (2, 0.005)]
    data = DigitsDataModule(image_size=8, train_per_class=5)
    task = ClassificationTask(data.data_spec, network=MLP)
    trainer = make_trainer(LearningRates())
    trainer.fit(task, data)
    assert not any("lr" in name for name in trainer.callback_metrics)


def test_projector_gets_features_classes_and_images():
    callbacks = "[{class_path: TSNEPlot, init_args: {layer: network, epochs: [2, -1]}}]"
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=4", f"--trainer.callbacks={callbacks}")
    run = Path("logs/scripted/version_0")
    config = (run / "projector_config.pbtxt").read_text()
    for epoch in (2, 4):
        place = run / f"{epoch:05d}" / "features_network"
        assert f"{place.relative_to(run)}/tensors.tsv" in config
        lines = (place / "tensors.tsv").read_text().splitlines()
        features = [[float(each) for each in line.split("\t")] for line in lines]
        p = PROBABILITIES[epoch - 1]
        for row, answer in zip(features, ANSWERS[epoch - 1]["test"], strict=True):
            expected = [p if int(answer) == label else (1 - p) / 2 for label in range(3)]
            assert row == pytest.approx(torch.tensor(expected).log().tolist(), abs=1e-4)
        names = [["ant", "bee", "cat"][label] for label in LABELS]
        assert (place / "metadata.tsv").read_text().split() == names
        sprite = Image.open(place / "sprite.png").convert("L")
        assert sprite.size == (4 * 3, 4 * 3)  # four images of 3 pixels a row
        assert [sprite.getpixel((3 * index, 0)) for index in range(4)] == [20, 21, 22, 23]  # their numbers
