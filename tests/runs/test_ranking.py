"""Choices by a metric that makes epochs equal: the loss decides, then the later epoch."""

import math

import pytest
import torch
from helpers import scripted
from helpers.commands import few_fast, run_card, run_cli
from helpers.scripted import SCRIPTED
from pytorch_lightning.callbacks import EarlyStopping

from lightning_tasks.callbacks import TieAwareEarlyStopping
from lightning_tasks.runs.ranking import Ranking

ROWS = [  # accuracy, loss, accuracy and loss of the average; the best of each by hand
    (0.8, 0.5, 0.7, 0.1),
    (0.9, 0.4, 0.9, 0.9),
    (0.9, 0.3, 0.9, 0.8),
    (0.9, 0.3, 0.9, 0.8),
    (0.9, 0.4, 0.9, 0.7),
    (0.7, 0.2, 0.1, 0.1),
    (0.8, 0.6, 0.5, 0.5),
]
VALIDATIONS = [dict(zip(("val/acc", "val/loss", "val/acc_ema", "val/loss_ema"), row, strict=True)) for row in ROWS]


@pytest.mark.parametrize(
    ("monitor", "mode", "best"),
    [("val/acc", "max", 3), ("val/acc", "min", 5), ("val/acc_ema", "max", 4), ("val/loss", "min", 5)],
)
def test_equals_are_told_apart_by_their_loss_then_the_later_wins(monitor, mode, best):
    assert Ranking(monitor, mode).best(VALIDATIONS) == best


def test_equal_losses_are_not_told_apart_by_another():
    rows = [{"val/loss": 0.2, "val/loss_ema": 0.1}, {"val/loss": 0.2, "val/loss_ema": 0.3}]
    assert Ranking("val/loss", "min").best(rows) == 1


def test_a_head_without_a_loss_of_its_own_has_that_of_all():
    rows = [{"val/acc_fine": 0.9, "val/loss": 0.1}, {"val/acc_fine": 0.9, "val/loss": 0.3}]
    assert Ranking("val/acc_fine", "max").best(rows) == 0


def test_a_metric_without_any_loss_lets_the_later_win():
    assert Ranking("val/agreement", "max").best([{"val/agreement": 0.5}, {"val/agreement": 0.5}]) == 1


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_the_worst(mode):
    ranking = Ranking("val/acc", mode)
    rows = [{"val/acc": torch.tensor(0.5), "val/loss": torch.tensor(math.nan)}, {"val/acc": math.nan, "val/loss": 0.1}]
    assert ranking.best(rows) == 0
    assert ranking.best([{"val/acc": 0.5, "val/loss": 3.0}, rows[0]]) == 0


@pytest.fixture
def three_equal(monkeypatch):
    """Validation accuracies 0.4, 0.8, 0.8, 0.8; of the equal ones the third epoch has the lowest loss."""
    answers = [dict(each) for each in scripted.ANSWERS]
    for each in answers[2:]:
        each["val"] = answers[1]["val"]
    monkeypatch.setattr(scripted, "ANSWERS", tuple(answers))
    monkeypatch.setattr(scripted, "PROBABILITIES", (0.5, 0.99, 0.8, 0.6))
    assert [scripted.right(epoch, "val") for epoch in (1, 2, 3, 4)] == [4, 8, 8, 8]


@pytest.mark.usefixtures("three_equal")
@pytest.mark.parametrize("stops", few_fast({"(4,)", "(3, 4)"}, [(4,), (3, 4), (2, 4), (2, 3, 4)]))
def test_the_tested_epoch_is_the_best_of_equals_also_after_a_resume(stops):
    for epochs in stops:
        run_cli("fit", *SCRIPTED, f"--trainer.max_epochs={epochs}", "--ckpt_path=last")
    card = run_card("scripted")
    assert (card["best_epoch"], card["tied"]) == (3, 3)
    assert card["metrics"]["test/acc"] == pytest.approx(0.3)  # of the third epoch
    assert torch.load("logs/scripted/version_0/checkpoints/best.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.usefixtures("three_equal")
def test_of_epochs_that_are_equal_in_both_the_later_is_tested(monkeypatch):
    monkeypatch.setattr(scripted, "PROBABILITIES", (0.5, 0.8, 0.8, 0.6))
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=4")
    assert run_card("scripted")["best_epoch"] == 3


@pytest.mark.usefixtures("three_equal")
@pytest.mark.parametrize("callback", [EarlyStopping, TieAwareEarlyStopping])
def test_a_lower_loss_of_an_equal_accuracy_is_an_improvement(callback):
    """Patience 1: Lightning's own ends after the third epoch, ours goes on to the fourth, which is no better."""
    ours = callback is TieAwareEarlyStopping
    name = "TieAwareEarlyStopping" if ours else "EarlyStopping"
    words = [f"--trainer.callbacks={name}", "--trainer.callbacks.monitor=val/acc", "--trainer.callbacks.mode=max"]
    run_cli("fit", *SCRIPTED, "--trainer.max_epochs=4", *words, "--trainer.callbacks.patience=1")
    assert run_card("scripted")["epochs"] == (4 if ours else 3)
