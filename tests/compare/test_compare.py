"""Finished runs beside each other."""

from pathlib import Path

import pytest
from helpers.cards import put

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.compare.command import main as compare
from lightning_tasks.compare.table import comparison, find_cards, option_rows


def test_comparison_shows_what_differs_and_all_metrics(tmp_path, card, monkeypatch, capsys):
    one, two = card(1), card(2)
    two["configuration"]["model"]["init_args"]["label_smoothing"] = 0.25
    two["metrics"].pop("test/loss")
    place = put(tmp_path / "logs", one, two)
    cards = find_cards([place / "any"], task_parser())
    assert [path.rsplit("/", 1)[1] for path in cards] == ["version_0", "version_1"]
    table = comparison(cards)
    columns = [list(column.cells) for column in table.columns]
    assert dict(zip(columns[0], zip(*columns[1:], strict=True), strict=True)) == {
        "model.label_smoothing": ("0.0", "0.25"),
        "seed": ("1", "2"),
        "seconds": ("10.0", "40.0"),
        "test/acc": ("0.81", "0.82"),
        "test/loss": ("0.51", "-"),
        "val/acc": ("0.91", "0.92"),
        "val/acc_last": ("0.71", "0.72"),
        "val/acc_mean": ("0.61", "0.62"),
    }
    compare([*cards])
    said = capsys.readouterr().out
    assert "0.61" in said
    assert "0.62" in said
    with pytest.raises(ValueError, match="no finished run at nowhere"):
        find_cards([tmp_path.joinpath("nowhere").relative_to(tmp_path)], task_parser())


def test_comparison_of_other_classes_leaves_their_options_out(card):
    """And shows names whole, without the folder of all and without packages."""
    one, two, three = card(1), card(2), card(3)
    two["configuration"]["model"]["init_args"]["network"] = {"class_path": "a.b.Other", "init_args": {"width": 3}}
    del three["configuration"]["model"]["init_args"]["label_smoothing"]
    table = comparison({"logs/any/version_0": one, str(Path("logs/any/version_1").absolute()): two, "logs/x/y": three})
    assert [column.header for column in table.columns] == ["", "any/version_0", "any/version_1", "x/y"]
    assert all(column.overflow == "fold" for column in table.columns)
    columns = [list(column.cells) for column in table.columns]
    rows = dict(zip(columns[0], zip(*columns[1:], strict=True), strict=True))
    network = one["configuration"]["model"]["init_args"]["network"]["class_path"].rpartition(".")[2]
    assert rows["model.network"] == (network, "Other", network)
    assert rows["model.label_smoothing"] == ("0.0", "0.0", "-")
    assert [name for name in rows if name.startswith("model.")] == ["model.label_smoothing", "model.network"]


def test_options_of_a_class_that_only_some_runs_have(card):
    """The first run has another network; of the two others the width differs, and where the data's config was read."""
    cards = [card(seed) for seed in (1, 2, 3)]
    for each, width in zip(cards[1:], (3, 5), strict=True):
        network = {"class_path": "a.b.Other", "init_args": {"width": width, "depth": 7}}
        each["configuration"]["model"]["init_args"]["network"] = network
        each["configuration"]["data"]["__path__"] = f"{width}.yaml"
    rows = option_rows(dict(zip("abc", cards, strict=True)))
    assert [name for name in rows if "network" in name] == ["model.network", "model.network.width"]
    assert rows["model.network.width"] == ["-", "3", "5"]
    assert not [name for name in rows if "path" in name]


def test_an_empty_list_beside_a_list_of_classes(card):
    cards = [card(seed) for seed in (1, 2, 3)]
    augment = [{"class_path": "a.Crop", "init_args": {"padding": 4}}, {"class_path": "b.c.Flip", "init_args": {}}]
    for each, value in zip(cards, ([], augment, None), strict=True):
        each["configuration"]["data"]["init_args"]["augment"] = value
    rows = option_rows(dict(zip("abc", cards, strict=True)))
    del augment[1]["init_args"]  # as the parser writes a class without options
    assert rows == option_rows(dict(zip("abc", cards, strict=True)))
    assert rows["data.augment"] == ["[]", "[Crop, Flip]", "-"]


def test_a_checkpoint_is_named_by_its_run_and_a_commit_by_nine_digits(card):
    one, two = card(1), card(2) | {"commit": "0123456789" * 4, "teacher_ckpt": "/home/me/logs/t/version_3"}
    two["teacher_ckpt"] += "/checkpoints/best.ckpt"
    table = comparison({"a": one, "b": two})
    columns = [list(column.cells) for column in table.columns]
    rows = dict(zip(columns[0], zip(*columns[1:], strict=True), strict=True))
    assert rows["commit"] == (9 * "a", "012345678")
    assert rows["teacher_ckpt"] == ("-", "t/version_3/checkpoints/best.ckpt")
