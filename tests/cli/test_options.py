"""Options of every run: logging, trainer pieces, what is refused and in which words."""

import sqlite3
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import (
    FIT_DFAD,
    FIT_TEACHER,
    ROOT,
    TINY_BY_HAND,
    TINY_DATA,
    TINY_TRAINER,
    few_fast,
    refusal,
    refused,
    run_card,
    run_cli,
)

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask


def test_what_is_reduced_over_devices_lies_on_the_device_of_the_task(monkeypatch):
    task = ClassificationTask(DigitsDataModule().data_spec, MLP)
    task.to("meta")
    logged = {}
    monkeypatch.setattr(pl.LightningModule, "log", lambda self, name, value, **options: logged.update({name: value}))
    task.log("reduced", torch.ones(()), sync_dist=True)
    task.log("own", torch.ones(()))
    task.log("number", 1.0, sync_dist=True)
    assert [logged["reduced"].device.type, logged["own"].device.type, logged["number"]] == ["meta", "cpu", 1.0]


def test_no_log_every_n_steps_logs_at_the_end_of_the_epoch():
    cli = run_cli(*FIT_TEACHER, "--trainer.log_every_n_steps=0")
    assert cli.trainer.current_epoch == 2
    assert "val/acc" in run_card("teacher")["metrics"]


@pytest.mark.parametrize(("epochs", "said"), [(3, ["the last 1 epochs"]), (4, [])])
def test_epochs_that_no_validation_judges_are_said(epochs, said, recwarn):
    run_cli(*FIT_TEACHER, f"--trainer.max_epochs={epochs}", "--trainer.check_val_every_n_epoch=2")
    messages = [str(each.message) for each in recwarn if "no multiple" in str(each.message)]
    assert len(messages) == len(said)
    assert all(part in message for part, message in zip(said, messages, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("config", ["dfad_digits", "teacher_digits"])
def test_the_debug_piece_debugs_every_task(config, teacher_ckpt, monkeypatch):
    """A card, of a part of the data, in seconds; no teacher of the right size is at hand, so the config gets ours."""
    words = ["fit", f"--config={ROOT}/configs/{config}.yaml", "--trainer", f"{ROOT}/configs/trainer/debug.yaml"]
    if config == "dfad_digits":
        words += [f"--model.teacher_ckpt={teacher_ckpt}", "--model.teacher.width=4", "--model.student_share=null"]
    cli = run_cli(*words)
    card = run_card(config)
    assert card["partial"] == {"train": 2, "val": 2, "test": 2}
    assert card["epochs"] == 2
    assert cli.trainer.num_test_batches == [1]  # the digits' test set is one batch


class TestOneLine:
    """No traceback for anything that a user typed, also where Lightning refuses it."""

    def test_metric_that_nobody_logs(self, tmp_path):
        line = refusal(tmp_path, *FIT_TEACHER, "--checkpoint_best.monitor=val/accuracy")
        assert line == "error: monitor: no metric 'val/accuracy' in validation; there are val/acc, val/loss"

    def test_metric_of_a_callback_or_a_schedule(self, tmp_path):
        own = "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val/los}}]"
        assert "no metric 'val/los' in validation" in refusal(tmp_path, *FIT_TEACHER, own)
        words = ["--model.scheduler=pytorch_lightning.cli.ReduceLROnPlateau", "--model.scheduler.monitor=val/ac"]
        assert "no metric 'val/ac' in validation" in refusal(tmp_path, *FIT_TEACHER, *words)

    def test_options_that_manual_optimisation_has_not(self, tmp_path, teacher_ckpt):
        words = [*FIT_DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.gradient_clip_val=1"]
        assert "gradient_clip_val" in refusal(tmp_path, *words)

    def test_hardware_that_is_not_there(self, tmp_path):
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        line = refused(tmp_path, *FIT_TEACHER, "--trainer.accelerator=gpu")
        assert line == "error: No supported gpu backend found!"

    def test_module_that_is_not_there(self, tmp_path):
        line = refused(tmp_path, *FIT_TEACHER, "--model.network=nothing.Network", status=2)
        assert "nothing.Network" in line

    def test_layers_that_do_not_fit_the_images(self, tmp_path):
        words = ["fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--data.image_size=9"]
        assert "linear_1 does not fit behind flatten_1: it expects a sample of shape (64,)" in refused(tmp_path, *words)

    @pytest.mark.parametrize(
        ("option", "key"),
        [
            ("--model.optimiser.lr", "optimiser"),
            ("--model.network.widht", "widht"),
            ("--data.batchsize", "batchsize"),
            ("--trainr.max_epochs", "trainr"),
        ],
    )
    def test_misspelt_option_is_named_with_its_place(self, tmp_path, option, key):
        line = refused(tmp_path, *FIT_TEACHER, f"{option}=3", status=2)
        assert f"Option '{key}' is not accepted ({option})" in line

    def test_validation_that_is_never_run(self, tmp_path):
        run_cli(*FIT_TEACHER, "--trainer.limit_val_batches=0")
        assert set(run_card("teacher")["metrics"]) == {"test/acc", "test/loss"}


def tools():
    """The lines of docs/running.md that add one of Lightning's tools."""
    section = (ROOT / "docs/running.md").read_text().partition("## Lightning's tools")[2].partition("\n## ")[0]
    return [line.partition("#")[0].split() for line in section.splitlines() if line.startswith("--")]


def tool(words):
    return words[0].removeprefix("--trainer.")


@pytest.mark.parametrize("words", few_fast({"callbacks+=EarlyStopping", "callbacks+=LearningRateRange"}, tools(), tool))
def test_the_tools_of_the_page(words, monkeypatch):
    """Each line, after a command of which it is part."""
    if "WandbLogger" in " ".join(words):
        pytest.importorskip("wandb")
        monkeypatch.setenv("WANDB_SILENT", "true")
    if "MLFlowLogger" in " ".join(words):
        pytest.importorskip("mlflow")
    cli = run_cli(*FIT_TEACHER, "--data.train_per_class=20", *words)
    run = Path("logs/teacher/version_0")
    assert run_card("teacher")["metrics"]["test/acc"] >= 0
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert (run / "config.yaml").is_file()
    if any("WandbLogger" in word for word in words):
        assert list(run.glob("wandb/offline-run-*/*.wandb"))
    elif any("MLFlowLogger" in word for word in words):
        with sqlite3.connect("logs/mlflow.db") as database:
            keys = {key for (key,) in database.execute("select key from metrics")}
        assert {"val/acc", "test/acc", "train/loss"} <= keys
    assert {path.name for path in Path().iterdir()} <= {"logs", "data"}
    assert cli.trainer.current_epoch >= 1
