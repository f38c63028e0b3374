"""Errors by kind from run cards, against shares worked out by hand."""

from pathlib import Path

import pytest

from tools.results import __main__ as command
from tools.results import error_kinds

KINDS = ("same_super", "same_group", "across")


def card(experiment, seed, argmax, crm=(0.0, 0.0, 0.0, 1.0), **more):
    """Make a card from the accuracy and the shares of the errors by kind, of both decisions."""
    names = [f"test/{name}{suffix}" for suffix in ("", "_crm") for name in ("acc_fine", *KINDS)]
    return {
        "experiment": experiment,
        "seed": seed,
        "metrics": {"test/acc": 0.3, **dict(zip(names, (*argmax, *crm), strict=True))},
        "config_hash": "h",
        "device": "1 x CPU",
        **more,
    }


CARDS = [
    card("cifar100_multitask", 1, (0.0, 0.0, 0.0, 1.0)),
    card("cifar100_multitask/70-30,plain", 1, (0.0, 0.0, 0.0, 1.0)),
    card("another/90-10,plain", 1, (0.0, 0.0, 0.0, 1.0)),
    # The two seeds of the last have another configuration than the third.
    card("cifar100_multitask/90-10,expected", 1, (0.5, 0.5, 0.5, 0.0), (0.75, 0.0, 1.0, 0.0)),
    card("cifar100_multitask/90-10,expected", 2, (0.5, 0.5, 0.5, 0.0), (0.75, 0.0, 1.0, 0.0)),
    card("cifar100_multitask/90-10,expected", 3, (0.0, 0.0, 0.0, 1.0), config_hash="another"),
    # 0.6 and 0.2 of the images are wrong: of all 0.6 * 0.5 and 0.2 * 0.1 within the superclass, and so on.
    card("cifar100_multitask/90-10,plain", 1, (0.4, 0.5, 0.2, 0.3), (0.5, 0.6, 0.3, 0.1)),
    card("cifar100_multitask/90-10,plain", 2, (0.8, 0.1, 0.5, 0.4), (0.7, 0.4, 0.2, 0.4)),
]
SHARES = {
    "plain, argmax": pytest.approx((0.16, 0.11, 0.13)),  # means of (0.3, 0.12, 0.18) and (0.02, 0.1, 0.08)
    "plain, least expected severity": pytest.approx((0.21, 0.105, 0.085)),  # (0.3, 0.15, 0.05), (0.12, 0.06, 0.12)
    "expected, argmax": pytest.approx((0.25, 0.25, 0.0)),
    "expected, least expected severity": pytest.approx((0.0, 0.25, 0.0)),
}


def test_shares_of_all_test_images():
    assert error_kinds.shares(CARDS) == SHARES
    assert list(error_kinds.shares(CARDS)) == list(SHARES)
    assert error_kinds.shares(CARDS[:3]) == {}


def test_picture_is_of_these_shares(monkeypatch):
    monkeypatch.setattr(error_kinds, "draw_error_kinds", lambda rows, title: (rows, title))
    rows, title = error_kinds.draw(CARDS)
    assert rows == SHARES
    assert "split 90:10" in title


@pytest.mark.parametrize(("cards", "drawn"), [(CARDS, True), (CARDS[:3], False)])
def test_results_draw_them_if_there_are_such_runs(cards, drawn, tmp_path, monkeypatch):
    """Of the cards that are still of today's configs: of "expected" there is none."""
    seen = []
    draw = error_kinds.draw_error_kinds
    monkeypatch.setattr(error_kinds, "draw_error_kinds", lambda *its: seen.append(list(its[0])) or draw(*its))
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "HERE", tmp_path)
    monkeypatch.setattr(command.run_cards, "collect", lambda *_: None)
    monkeypatch.setattr(command.run_cards, "read_all", lambda *_: cards)
    monkeypatch.setattr(command.run_cards, "write_csv", lambda *_: None)
    monkeypatch.setattr(command.run_cards, "is_current", lambda card, _: "expected" not in card["experiment"])
    Path("README.md").write_text("x")
    command.write(tmp_path)
    assert (tmp_path / "plots/cifar100_multitask_errors.png").is_file() == drawn
    assert seen == [["plain, argmax", "plain, least expected severity"]] * drawn
