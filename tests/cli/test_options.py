"""Options of every run: precision, averaged weights, trainer pieces, what is refused and in which words."""

import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import (
    ROOT,
    TINY_BY_HAND,
    TINY_DATA,
    TINY_DFAD,
    TINY_TEACHER,
    TINY_TRAINER,
    few_fast,
    make_trainer,
    refusal,
    refused,
    run_card,
    run_cli,
)
from helpers.plots import compile_eagerly

from datamodules import DigitsDataModule
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.callbacks import LearningRateRange
from lightning_tasks.cli.precision import fast_kernels, usable_precision

TEACHER = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=2"]
DFAD = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]


@pytest.mark.parametrize("precision", few_fast({"bf16-mixed"}, ["bf16-mixed", "bf16-true", "64-true"]))
def test_precisions(precision, teacher_ckpt, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")  # else bfloat16 is not used
    run_cli(*TEACHER, f"--trainer.precision={precision}")
    assert run_card("teacher")["precision"] == precision
    run_cli(*DFAD, f"--trainer.precision={precision}", f"--model.teacher_ckpt={teacher_ckpt}")
    assert 0 <= run_card()["metrics"]["test/acc"] <= 1
    dtype = {"bf16-mixed": torch.float32, "bf16-true": torch.bfloat16, "64-true": torch.float64}[precision]
    weights = torch.load("logs/teacher/version_0/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert weights["network.fc.weight"].dtype == dtype


@pytest.mark.parametrize(
    ("optimizer", "options", "refused"),
    [
        (torch.optim.SGD, {}, None),
        (torch.optim.Adam, {}, "Adam's eps of 1e-08"),
        (torch.optim.AdamW, {"eps": 1e-4}, None),
        (torch.optim.RMSprop, {}, "RMSprop's eps of 1e-08"),
        (torch.optim.Adafactor, {}, None),
        (torch.optim.Adafactor, {"eps": (1e-10, 1e-3)}, r"Adafactor's eps of \(1e-10, 0.001\)"),
    ],
)
def test_an_eps_that_is_0_in_float16_is_refused(optimizer, options, refused):
    data = DigitsDataModule(image_size=8, train_per_class=10)

    def fit(precision):
        task = ClassificationTask(data.data_spec, MLP, optimizer=lambda params: optimizer(params, lr=1e-3, **options))
        make_trainer(precision=precision).fit(task, data)

    if refused is None:
        fit("16-true")
    else:
        with pytest.raises(ValueError, match=f"trainer.precision 16-true: {refused} is 0 in float16"):
            fit("16-true")
        fit("32-true")


def test_what_is_reduced_over_devices_lies_on_the_device_of_the_task(monkeypatch):
    task = ClassificationTask(DigitsDataModule().data_spec, MLP)
    task._device = torch.device("meta")
    logged = {}
    monkeypatch.setattr(pl.LightningModule, "log", lambda self, name, value, **options: logged.update({name: value}))
    task.log("reduced", torch.ones(()), sync_dist=True)
    task.log("own", torch.ones(()))
    task.log("number", 1.0, sync_dist=True)
    assert [logged["reduced"].device.type, logged["own"].device.type, logged["number"]] == ["meta", "cpu", 1.0]


def test_no_log_every_n_steps_logs_at_the_end_of_the_epoch():
    cli = run_cli(*TEACHER, "--trainer.log_every_n_steps=0")
    assert cli.trainer.current_epoch == 2
    assert "val/acc" in run_card("teacher")["metrics"]


@pytest.mark.parametrize(("epochs", "said"), [(3, ["the last 1 epochs"]), (4, [])])
def test_epochs_that_no_validation_judges_are_said(epochs, said, recwarn):
    run_cli(*TEACHER, f"--trainer.max_epochs={epochs}", "--trainer.check_val_every_n_epoch=2")
    messages = [str(each.message) for each in recwarn if "no multiple" in str(each.message)]
    assert len(messages) == len(said)
    assert all(part in message for part, message in zip(said, messages, strict=True))


@pytest.mark.parametrize("config", few_fast({"teacher_digits"}, ["dfad_digits", "teacher_digits"]))
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


class TestEMA:
    def test_follows_the_formula_and_is_evaluated_beside_the_weights(self):
        decay = 0.9
        run_cli(*TEACHER, f"--model.ema_decay={decay}", "--data.train_per_class=5")
        card = run_card("teacher")
        assert {"test/acc_ema", "test/loss_ema", "val/acc_ema", "val/acc_ema_last", "test/acc"} <= set(card["metrics"])
        assert card["parameters_trained"] == card["parameters"]["network"]

    def test_by_hand(self):
        pl.seed_everything(1)
        data = DigitsDataModule(image_size=8, batch_size=25, train_per_class=10)
        task = ClassificationTask(data.data_spec, network=lambda c, s: MLP(c, s, (8,)), ema_decay=0.8)
        seen = []

        class Watch(pl.Callback):
            def on_train_batch_end(self, trainer, pl_module, *_):
                seen.append(pl_module.network.layers[1].weight.detach().clone())

        make_trainer(Watch(), limit_val_batches=1.0, num_sanity_val_steps=0).fit(task, data)
        average = seen[0].clone()  # the first step starts the average
        for weight in seen[1:]:
            average = 0.8 * average + 0.2 * weight
        torch.testing.assert_close(task.ema.module.layers[1].weight, average)
        x = torch.randn(4, 1, 8, 8)
        assert not torch.equal(task.ema(x), task(x))
        tested = make_trainer().test(task, data, verbose=False)[0]
        images, labels = data.test_set.images, data.test_set.labels
        right = task.ema(data.normalise(images.float() / 255)).argmax(dim=1) == labels
        assert tested["test/acc_ema"] == pytest.approx(right.float().mean().item())

    @pytest.mark.slow
    def test_of_a_student_resumes_to_the_bit(self, teacher_ckpt):
        words = [*DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--model.ema_decay=0.9", "--trainer.max_epochs=2"]
        run_cli(*words, "--experiment=whole")
        run_cli(*words, "--experiment=parts", "--trainer.max_epochs=1")
        run_cli(*words, "--experiment=parts", "--ckpt_path=last")
        whole, parts = (
            torch.load(f"logs/{name}/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
            for name in ("whole", "parts")
        )
        assert any(name.startswith("ema.") for name in whole)
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
        assert run_card("whole")["metrics"] == run_card("parts")["metrics"]

    @pytest.mark.slow
    def test_of_a_compiled_network_is_that_of_the_network(self, monkeypatch):
        compile_eagerly(monkeypatch)
        words = [*TEACHER, "--model.ema_decay=0.9", "--trainer.max_epochs=2", "--data.train_per_class=5"]
        for compiled in (False, True):
            task = run_cli(*words, f"--model.compile={compiled}", f"--experiment=compiled_{compiled}").model
            assert (task.network._compiled_call_impl is not None) == compiled
            assert task.ema.module._compiled_call_impl is None
        plain, compiled = (
            torch.load(f"logs/compiled_{name}/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
            for name in (False, True)
        )
        assert plain.keys() == compiled.keys()
        assert all(torch.allclose(plain[name], compiled[name], rtol=1e-4, atol=1e-5) for name in plain)
        metrics = [run_card(f"compiled_{name}")["metrics"] for name in (False, True)]
        assert metrics[0]["test/loss_ema"] == pytest.approx(metrics[1]["test/loss_ema"], rel=1e-4)

    @pytest.mark.parametrize(
        "own", ["EMAWeightAveraging", "{class_path: StochasticWeightAveraging, init_args: {swa_lrs: 0.05}}"]
    )
    @pytest.mark.parametrize("words", [TEACHER, DFAD], ids=["classification", "dfad"])
    def test_lightnings_own_is_refused_since_it_tests_other_weights_than_it_validates(
        self, words, own, teacher_ckpt, tmp_path
    ):
        teacher = [f"--model.teacher_ckpt={teacher_ckpt}"] if words is DFAD else []
        line = refused(tmp_path, *words, *teacher, f"--trainer.callbacks=[{own}]")
        assert "Averaging validates other weights than are tested; give the task ema_decay" in line

    @pytest.mark.slow
    def test_a_batch_size_that_lightning_finds_is_in_the_card(self):
        finder = "{class_path: BatchSizeFinder, init_args: {max_trials: 2, init_val: 5, steps_per_trial: 1}}"
        cli = run_cli(*TEACHER, f"--trainer.callbacks=[{finder}]", "--trainer.max_epochs=1")
        card = run_card("teacher")
        assert card["batch_size"] == cli.trainer.num_training_batches == 10  # of 100 images; 5 were doubled
        assert card["configuration"]["data"]["init_args"]["batch_size"] == 25

    def test_decay_out_of_range(self):
        with pytest.raises(ValueError, match=r"ema_decay must be in \(0, 1\), got 1.0"):
            run_cli(*TEACHER, "--model.ema_decay=1.0")


class TestOneLine:
    """No traceback for anything that a user typed, also where Lightning refuses it."""

    def test_metric_that_nobody_logs(self, tmp_path):
        line = refusal(tmp_path, *TEACHER, "--checkpoint_best.monitor=val/accuracy")
        assert line == "error: monitor: no metric 'val/accuracy' in validation; there are val/acc, val/loss"

    def test_metric_of_a_callback_or_a_schedule(self, tmp_path):
        own = "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val/los}}]"
        assert "no metric 'val/los' in validation" in refusal(tmp_path, *TEACHER, own)
        words = ["--model.scheduler=pytorch_lightning.cli.ReduceLROnPlateau", "--model.scheduler.monitor=val/ac"]
        assert "no metric 'val/ac' in validation" in refusal(tmp_path, *TEACHER, *words)

    def test_options_that_manual_optimisation_has_not(self, tmp_path, teacher_ckpt):
        words = [*DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.gradient_clip_val=1"]
        assert "gradient_clip_val" in refusal(tmp_path, *words)

    def test_hardware_that_is_not_there(self, tmp_path):
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        line = refused(tmp_path, *TEACHER, "--trainer.accelerator=gpu")
        assert line == "error: No supported gpu backend found!"

    def test_module_that_is_not_there(self, tmp_path):
        line = refused(tmp_path, *TEACHER, "--model.network=nothing.Network", status=2)
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
        line = refused(tmp_path, *TEACHER, f"{option}=3", status=2)
        assert f"Option '{key}' is not accepted ({option})" in line

    def test_validation_that_is_never_run(self, tmp_path):
        run_cli(*TEACHER, "--trainer.limit_val_batches=0")
        assert set(run_card("teacher")["metrics"]) == {"test/acc", "test/loss"}


def write_module(folder):
    """A module that says so when it is imported."""
    (folder / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\nclass Network: ...\n")


def test_a_checkpoint_imports_nothing_that_it_names(tmp_path, teacher_ckpt, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path)
    checkpoint = torch.load(teacher_ckpt, weights_only=True)
    checkpoint["hyper_parameters"]["network"] = {"class_path": "evil.Network"}
    torch.save(checkpoint, "evil.ckpt")
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--ckpt_path=evil.ckpt"]
    for subcommand in ("fit", "test", "predict"):
        line = refused(tmp_path, subcommand, *words)
        assert "evil.ckpt names evil.Network (network.class_path), which is no part of this project" in line
    assert not Path("ran").exists()
    assert "evil" not in sys.modules


def test_a_checkpoint_reads_no_file_that_it_names(tmp_path, teacher_ckpt, monkeypatch):
    """The parser would take the file for options, and import the classes in it."""
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path)
    (tmp_path / "more.yaml").write_text("class_path: evil.Network\n")
    checkpoint = torch.load(teacher_ckpt, weights_only=True)
    for name in (f"{tmp_path}/more.yaml", "./more.yaml", "more.yaml"):
        checkpoint["hyper_parameters"]["network"] = name
        torch.save(checkpoint, "evil.ckpt")
        line = refused(tmp_path, "test", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--ckpt_path=evil.ckpt")
        assert f"evil.ckpt names the file {name} (network)" in line
        assert not Path("ran").exists()


def test_data_of_another_kind_than_the_checkpoint_are_refused(tmp_path, teacher_ckpt):
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, f"--ckpt_path={teacher_ckpt}", "--data.normalise=false"]
    for subcommand in ("test", "predict", "validate"):
        line = refusal(tmp_path, subcommand, *words)
        assert (
            "ckpt_path: the checkpoint was trained with mean [0.3053], std [0.3186]; this run has [0.0], [1.0]" in line
        )


def test_a_task_built_for_other_data_is_refused():
    data = DigitsDataModule(image_size=8)
    task = ClassificationTask(data.data_spec | {"mean": (0.5,)}, network=MLP)
    with pytest.raises(ValueError, match=r"the data are with mean \[0.3053\]; this run has \[0.5\]"):
        make_trainer().fit(task, data)


@pytest.mark.parametrize(("capability", "used"), [("AVX2", "32-true"), ("AVX512", "bf16-mixed")])
def test_bfloat16_is_not_emulated(monkeypatch, recwarn, capability, used):
    """The card says what was computed with, the config what was asked for."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    run_cli(*TEACHER, "--trainer.precision=bf16-mixed", "--data.train_per_class=5", "--trainer.max_epochs=1")
    assert run_card("teacher")["precision"] == used
    assert "precision: bf16-mixed" in Path("logs/teacher/version_0/config.yaml").read_text()
    found = [each for each in recwarn if "has no bfloat16; 32-true takes the place of bf16-mixed" in str(each.message)]
    assert len(found) == (used == "32-true")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert usable_precision(SimpleNamespace(precision="bf16-mixed", accelerator="auto")) == "bf16-mixed"
    assert usable_precision(SimpleNamespace(precision="16-mixed", accelerator="cpu")) == "16-mixed"


class TestGPU:
    """Of any generation; there is none."""

    @pytest.fixture
    def options(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        options = {"accelerator": "auto", "precision": "32-true", "benchmark": None, "deterministic": None}
        return lambda **changed: SimpleNamespace(**options | changed)

    @pytest.mark.parametrize(
        ("asked", "used"), [("bf16-mixed", "16-mixed"), ("bf16-true", "32-true"), ("16-true", "16-true")]
    )
    def test_bfloat16_is_not_emulated(self, monkeypatch, recwarn, options, asked, used):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
        assert usable_precision(options(precision=asked)) == used
        assert len(recwarn) == (used != asked)
        assert all(
            f"this GPU has no bfloat16; {used} takes the place of {asked}" in str(each.message) for each in recwarn
        )
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        assert usable_precision(options(precision=asked)) == asked

    def test_a_bfloat16_gpu_is_not_asked_by_a_run_on_the_cpu(self, monkeypatch, options):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        assert usable_precision(options(precision="bf16-mixed", accelerator="cpu")) == "bf16-mixed"

    def test_fast_kernels(self, options):
        """Not in a deterministic run; a choice of the user's stands; a run on the CPU changes nothing."""

        def chosen(**changed):
            benchmark = fast_kernels(options(**changed))
            return benchmark, torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

        assert chosen(accelerator="cpu")[:2] == (None, "highest")
        assert chosen() == (True, "high", True)
        assert chosen(benchmark=False) == (False, "high", True)
        assert chosen(accelerator="cpu", benchmark=True)[0] is True
        assert chosen(deterministic=True) == (False, "highest", False)
        assert chosen(deterministic="warn") == (False, "highest", False)
        torch.backends.cudnn.allow_tf32 = True


class TestLearningRateRange:
    WORDS = (*TEACHER, "--data.train_per_class=20", "--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.05")

    def test_training_is_as_without(self, caplog):
        caplog.set_level("INFO")
        run_cli(*self.WORDS)
        callback = "--trainer.callbacks=[{class_path: LearningRateRange, init_args: {num_training_steps: 30}}]"
        cli = run_cli(*self.WORDS, callback)
        runs = [torch.load(f"logs/teacher/version_{n}/checkpoints/last.ckpt", weights_only=True) for n in (0, 1)]
        for name, value in runs[0]["state_dict"].items():
            assert torch.equal(value, runs[1]["state_dict"][name]), name
        (finder,) = [each for each in cli.trainer.callbacks if isinstance(each, LearningRateRange)]
        rates, losses = finder.optimal_lr.results["lr"], finder.optimal_lr.results["loss"]
        assert len(rates) == len(losses) > 5
        assert rates == sorted(rates)
        assert rates[0] < 1e-4
        assert losses[:3] == pytest.approx([2.3] * 3, abs=0.3)  # of a network that knows nothing of ten classes
        assert f"learning rate: the loss falls fastest at {finder.optimal_lr.suggestion():.2g}" in caplog.messages
        assert Path("logs/teacher/version_1/figures/learning_rates.png").is_file()
        assert not list(Path().glob(".lr_find*"))

    def test_refused(self, tmp_path, teacher_ckpt):
        callback = "--trainer.callbacks=[LearningRateRange]"
        line = refusal(tmp_path, *DFAD, f"--model.teacher_ckpt={teacher_ckpt}", callback)
        assert "LearningRateRange needs a task of one optimizer, which DFADTask is not" in line
        with pytest.raises(ValueError, match=r"expected 0 < min_lr < max_lr and two steps, got 1, 0\.1, 100"):
            LearningRateRange(1, 0.1)


def tools():
    """The lines of docs/running.md that add one of Lightning's tools."""
    section = (ROOT / "docs/running.md").read_text().partition("## Lightning's own tools")[2].partition("\n## ")[0]
    return [line.partition("#")[0].split() for line in section.splitlines() if line.startswith("--")]


def tool(words):
    return words[0].removeprefix("--trainer.")


@pytest.mark.parametrize("words", few_fast({"callbacks+=EarlyStopping", "logger=CSVLogger"}, tools(), tool))
def test_the_tools_of_the_page(words, monkeypatch):
    """Each line, after a command of which it is part."""
    if "WandbLogger" in " ".join(words):
        pytest.importorskip("wandb")
        monkeypatch.setenv("WANDB_SILENT", "true")
    if "MLFlowLogger" in " ".join(words):
        pytest.importorskip("mlflow")
    cli = run_cli(*TEACHER, "--data.train_per_class=20", *words)
    run = Path("logs/teacher/version_0")
    assert run_card("teacher")["metrics"]["test/acc"] >= 0
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert (run / "config.yaml").is_file()
    if "CSVLogger" in words:
        assert "val/acc" in (run / "metrics.csv").read_text()
    elif any("WandbLogger" in word for word in words):
        assert list(run.glob("wandb/offline-run-*/*.wandb"))
    elif any("MLFlowLogger" in word for word in words):
        with sqlite3.connect("logs/mlflow.db") as database:
            keys = {key for (key,) in database.execute("select key from metrics")}
        assert {"val/acc", "test/acc", "train/loss"} <= keys
    assert {path.name for path in Path().iterdir()} <= {"logs", "data"}
    assert cli.trainer.current_epoch >= 1
