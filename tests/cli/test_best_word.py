"""`best` in place of a checkpoint: the one that the run's test used."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.commands import TINY_DATA, TINY_TEACHER, TINY_TRAINER, refusal, run_cli
from helpers.scripted import SCRIPTED

from lightning_tasks.export import command
from lightning_tasks.export import export as export_module

RUNS = Path("logs/scripted")


def found_by(*words):
    """The checkpoint that a command takes, and what it finds; the scripted test accuracies are 0.1, 0.7, 0.3, 0.9."""
    cli = run_cli("test", *SCRIPTED, *words)
    path = Path(cli.trainer.ckpt_path)
    return f"{path.parents[1].name}/{path.stem}", round(cli.trainer.callback_metrics["test/acc"].item(), 4)


@pytest.fixture
def runs():
    """A whole run; a copy without a card, as of one that is still trained; and one of a part of the data."""
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=4")
    for number in (1, 2):
        shutil.copytree(RUNS / "version_0", RUNS / f"version_{number}")
    (RUNS / "version_1/run.json").unlink()
    card = json.loads((RUNS / "version_2/run.json").read_text())
    (RUNS / "version_2/run.json").write_text(json.dumps(card | {"partial": {"test": 2}}))


@pytest.mark.slow
def test_it_is_the_tested_one_of_the_newest_whole_run(runs, tmp_path):
    assert found_by("--ckpt_path=best") == ("version_0/best", 0.7)
    assert found_by("--ckpt_path=last") == ("version_2/last", 0.9)
    cli = run_cli("predict", *SCRIPTED, "--ckpt_path=best")
    assert cli.trainer.ckpt_path == "logs/scripted/version_0/checkpoints/best.ckpt"
    assert run_cli("validate", *SCRIPTED, "--ckpt_path=best").trainer.callback_metrics["val/acc"] == pytest.approx(0.8)
    line = refusal(tmp_path, "fit", *SCRIPTED, "--trainer.max_epochs=5", "--ckpt_path=best")
    assert line == "error: ckpt_path: best is for test, validate and predict; fit resumes with --ckpt_path last"
    (RUNS / "version_0/run.json").unlink()
    assert found_by("--ckpt_path=best") == ("version_2/best", 0.7)  # of a part only
    (RUNS / "version_2/run.json").unlink()
    (RUNS / "version_2/checkpoints/best.ckpt").unlink()
    assert found_by("--ckpt_path=best") == ("version_2/last", 0.9)
    line = refusal(tmp_path, "test", *SCRIPTED, "--ckpt_path=best", "--seed_everything=5")
    assert "no run of this experiment and seed has left a last checkpoint" in line


def test_without_a_validation_it_is_the_last():
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--plots=false", "--experiment=scripted"]
    cli = run_cli("fit", *words, "--trainer.max_epochs=1", "--trainer.limit_val_batches=0")
    assert not (RUNS / "version_0/checkpoints/best.ckpt").is_file()
    again = run_cli("test", *words, "--ckpt_path=best")
    assert again.trainer.callback_metrics["test/acc"] == cli.trainer.callback_metrics["test/acc"]


@pytest.mark.slow
def test_an_export_of_an_experiment_by_its_config(runs, monkeypatch, tmp_path):
    shutil.copy(RUNS / "version_0/config.yaml", "scripted.yaml")
    made = []
    monkeypatch.setattr(export_module, "export", lambda *args: made.append(args) or ("out", {}))
    monkeypatch.setattr("lightning_tasks.export.card.table", lambda facts: "")
    for word, expected in (("best", "version_0/checkpoints/best.ckpt"), ("last", "version_2/checkpoints/last.ckpt")):
        command.main(["--ckpt", word, "--config", "scripted.yaml"])
        assert made[-1][0] == f"logs/scripted/{expected}"
    with pytest.raises(
        ValueError, match=r"^ckpt: best needs the experiment.s --config; or name its folder, as --ckpt lo"
    ):
        command.main(["--ckpt=best"])
