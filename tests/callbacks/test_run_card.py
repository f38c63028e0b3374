"""Every figure of a run, computed by hand from scripted answers: best, last, mean, max, min, resumed, two devices."""

import json
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from helpers.commands import run_card, run_cli
from helpers.scripted import ACCURACIES, ANSWERS, SCRIPTED, loss, right
from pytorch_lightning import Callback

from lightning_tasks.cli.main import main
from lightning_tasks.cli.parser import task_parser
from lightning_tasks.runs.formatting import is_share, shown
from lightning_tasks.runs.identity import config_hash, read_command
from lightning_tasks.sweeps import report
from lightning_tasks.sweeps.plan import read as read_sweep
from tools.results.tables import results_table

FOUR = "--trainer.max_epochs=4"


def test_the_script_is_what_it_says():
    for part, numbers in ACCURACIES.items():
        assert tuple(right(epoch, part) for epoch in (1, 2, 3, 4)) == numbers
    losses = [loss(epoch, "val") for epoch in (1, 2, 3, 4)]
    assert len(ANSWERS) == 4
    assert losses.index(min(losses)) + 1 == 3
    assert losses.index(max(losses)) + 1 == 4


def expected(best):
    """Metrics of the card of a run of four epochs that tests the weights of epoch `best`."""
    return {
        "test/acc": ACCURACIES["test"][best - 1] / 10,
        "test/loss": loss(best, "test"),
        "val/acc": ACCURACIES["val"][best - 1] / 10,
        "val/acc_last": 0.5,
        "val/acc_mean": 0.575,
        "val/loss": loss(best, "val"),
        "val/loss_last": loss(4, "val"),
        "val/loss_mean": sum(loss(epoch, "val") for epoch in (1, 2, 3, 4)) / 4,
    }


# By accuracy the best epoch is the second and the worst the first; by loss the third and the last.
CHOICES = {
    ("val/acc", "max"): 2,
    ("val/acc", "min"): 1,
    ("val/loss", "min"): 3,
    ("val/loss", "max"): 4,
}


@pytest.mark.parametrize(("choice", "best"), CHOICES.items(), ids=str)
def test_card_holds_the_figures_of_the_tested_checkpoint(choice, best):
    monitor, mode = choice
    words = ["fit", *SCRIPTED, FOUR, f"--checkpoint_best.monitor={monitor}", f"--checkpoint_best.mode={mode}"]
    cli = run_cli(*words, "--seed_everything=5")
    card = run_card("scripted")
    assert card["metrics"] == pytest.approx(expected(best), abs=1e-6)
    assert card["best_epoch"] == best
    assert card["over_time"]["val/acc"] == [0.4, 0.8, 0.6, 0.5]
    assert card["over_time"].keys() == {"seconds", "val/acc"}
    assert 0 <= card["over_time"]["seconds"][0] <= card["over_time"]["seconds"][-1] <= card["seconds"]
    assert card["epochs"] == 4
    assert card["experiment"] == "scripted"
    assert card["seed"] == 5
    assert card["monitor"] == monitor
    assert card["headline"] == ["test/acc"]
    assert card["parameters"] == {"network": 5}
    assert card["parameters_trained"] == 1
    assert card["command"] == f"python cli.py {shlex.join([*words, '--seed_everything=5'])}"
    assert card["config_hash"] == config_hash(read_command(task_parser(), words))
    assert card["configuration"]["data"]["init_args"]["batch_size"] == 4
    assert "partial" not in card
    checkpoint = torch.load("logs/scripted/version_0/checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["network.batches"] == 3 * best
    assert checkpoint["run"]["experiment"] == "scripted"
    assert checkpoint["run"]["validation"]["val/acc"] == pytest.approx(ACCURACIES["val"][best - 1] / 10)
    confusion = cli.model.test_confusion.compute()  # rows true, columns predicted
    assert confusion.sum(dim=1).tolist() == [5, 3, 2]
    answers = ANSWERS[best - 1]["test"]
    assert confusion[0].tolist() == [answers[:5].count(each) for each in "012"]
    assert confusion[2].tolist() == [answers[8:].count(each) for each in "012"]


def test_training_figures_are_means_over_samples():
    metrics = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            metrics.append({name: float(trainer.callback_metrics[name]) for name in ("train/loss", "train/acc")})

    cli = main([*SCRIPTED, FOUR], run=False)
    cli.trainer.callbacks.append(Watch())
    cli.trainer.fit(cli.model, cli.datamodule)
    assert [each["train/acc"] for each in metrics] == pytest.approx([0.2, 0.4, 0.5, 0.6])
    assert [each["train/loss"] for each in metrics] == pytest.approx([loss(epoch, "train") for epoch in (1, 2, 3, 4)])


@pytest.mark.slow
def test_a_resumed_run_has_the_figures_of_a_whole_one(capsys):
    """The best epoch lies before the stop; the folder is named once absolutely, then relatively."""
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=3", f"--trainer.default_root_dir={Path('logs').resolve()}")
    assert run_card("scripted")["metrics"]["val/acc_last"] == pytest.approx(0.6)
    before = run_card("scripted")["over_time"]
    run_cli("fit", *SCRIPTED, FOUR, "--trainer.default_root_dir=logs", "--ckpt_path=last")
    assert "trained on from 3 to 4 epochs" in capsys.readouterr().out
    card = run_card("scripted")
    assert card["metrics"] == pytest.approx(expected(2), abs=1e-6)
    assert card["over_time"]["val/acc"] == [*before["val/acc"], 0.5]
    assert card["over_time"]["seconds"] == [*before["seconds"], pytest.approx(card["seconds"], abs=0.5)]
    assert card["over_time"]["seconds"][-1] >= before["seconds"][-1]
    assert (card["best_epoch"], card["epochs"]) == (2, 4)
    assert [path.name for path in Path("logs/scripted").iterdir()] == ["version_0"]


def test_a_users_own_checkpoint_callbacks_choose_nothing():
    own = '{"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/acc", "mode": "min", "dirpath": "own"}}'
    last = '{"class_path": "ModelCheckpoint", "init_args": {"save_on_train_epoch_end": true, "dirpath": "other"}}'
    run_cli("fit", *SCRIPTED, FOUR, f"--trainer.callbacks=[{own},{last}]")
    assert run_card("scripted")["metrics"] == pytest.approx(expected(2), abs=1e-6)
    assert list(Path("own").glob("*.ckpt"))
    assert list(Path("other").glob("*.ckpt"))


@pytest.mark.slow
def test_two_devices_give_the_figures_of_one(children, tmp_path):
    """Each rank trains on five images, in batches of 3 and 2, and evaluates all."""
    words = ["fit", *SCRIPTED, FOUR, "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.logger=CSVLogger"]
    words += ["--trainer.logger.save_dir=elsewhere", "--model.network.batches_per_epoch=2", "--data.batch_size=3"]
    for done in children.run_two(words, tmp_path):
        assert done.status == 0, done.err
    card = run_card("scripted")
    assert card["metrics"] == pytest.approx(expected(2), abs=1e-6)
    assert card["best_epoch"] == 2
    assert card["device"].startswith("2 x CPU")
    lines = Path("logs/scripted/version_0/metrics.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    accuracies = [float(row["train/acc"]) for row in rows if row["train/acc"]]
    assert accuracies == pytest.approx([0.2, 0.4, 0.5, 0.6])
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert losses == pytest.approx([loss(epoch, "train") for epoch in (1, 2, 3, 4)])


def test_limits_make_a_card_partial():
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1")
    assert run_card("scripted")["partial"] == {"train": 1}
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1.0")
    assert "partial" not in run_card("scripted", 1)


def test_predictions_and_their_probabilities():
    run_cli("fit", *SCRIPTED, FOUR)
    best = "logs/scripted/version_0/checkpoints/best.ckpt"
    cli = run_cli("predict", *SCRIPTED, f"--ckpt_path={best}")
    rows = [line.split(",") for line in Path(cli.trainer.log_dir, "predictions.csv").read_text().splitlines()]
    names = ["ant", "bee", "cat"]
    assert rows[0] == ["index", "label", "predicted", "probability"]
    assert [row[1] for row in rows[1:]] == 5 * ["ant"] + 3 * ["bee"] + 2 * ["cat"]
    assert [row[2] for row in rows[1:]] == [names[int(answer)] for answer in ANSWERS[1]["test"]]
    assert {row[3] for row in rows[1:]} == {"0.9900"}
    assert [int(row[0]) for row in rows[1:]] == list(range(10))


@pytest.mark.parametrize("metric", ["test/loss", "val/nll", "test/severity", "test/severity_crm", "test/cost_last"])
def test_what_is_no_share_is_not_in_percent(metric):
    assert not is_share(metric)
    assert shown(metric, [0.5, 0.25]) == "0.3750 ± 0.1768"
    assert is_share("test/acc_fine_crm")
    assert shown("test/acc_fine_crm", [0.5, 0.25]) == "37.50 ± 17.68"


@pytest.mark.slow
def test_rows_of_the_tables_of_results_and_sweeps(capsys):
    """From the command line to the Markdown."""
    with pytest.raises(SystemExit):
        run_cli("fit", *SCRIPTED, "--print_config")
    Path("scripted.yaml").write_text(capsys.readouterr().out)
    axes = {"by": {"accuracy": {}, "its least": {"checkpoint_best.mode": "min"}}, "epochs": {}}
    axes["epochs"] = {"2": {"trainer.max_epochs": 2}, "4": {"trainer.max_epochs": 4}}
    reported = [{"by": "accuracy", "values": {"test/acc": 0.123}}]
    sweep = {"config": "scripted.yaml", "axes": axes, "seeds": [1, 2], "reported": reported}
    Path("table.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    sweep = read_sweep(Path("table.yaml"))
    cards = []
    for cell in sweep.cells():
        for seed in sweep.seeds:
            run_cli(*sweep.command(cell), f"--seed_everything={seed}")
            cards.append(json.loads(Path("logs", sweep.experiment(cell), f"version_{seed - 1}/run.json").read_text()))
    hashes = {cell.folder: config_hash(read_command(task_parser(), sweep.command(cell))) for cell in sweep.cells()}
    lines = report.markdown(sweep, report.rows(sweep, cards, hashes)).splitlines()
    assert lines[2] == "| accuracy | 70.0 ± 0.0 | 70.0 ± 0.0 | 12.3 |"  # the second epoch, in both
    assert lines[3] == "| its least | 10.0 ± 0.0 | 10.0 ± 0.0 | - |"  # the first
    assert lines[5] == "test/acc in percent by epochs; 2 seeds per cell."
    four = [card for card in cards if card["experiment"] == "table/accuracy,4"]
    row = results_table(four).splitlines()[2]
    assert "| 2 | 5 | acc 70.00 ± 0.00 | 80.00 ± 0.00 | 50.00 ± 0.00 | 57.50 ± 0.00 |" in row
