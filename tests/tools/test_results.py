"""Tables from run cards: every cell computed by hand, on cards whose figures all differ."""

import csv
import json
import shutil

import pytest
from helpers.cards import CONFIG, put
from helpers.commands import ROOT

from lightning_tasks.cli.parser import task_parser
from lightning_tasks.compare.cards import read, without_paths
from lightning_tasks.compare.table import find_cards
from lightning_tasks.runs.identity import config_hash
from tools.results.__main__ import section
from tools.results.cards import collect, group_key, is_current, read_all, write_csv
from tools.results.tables import (
    benchmark_table,
    campaign_table,
    figures,
    fill,
    front_table,
    overrides,
    results_table,
    systems_table,
    without,
)


def test_damaged_cards_are_named_and_passed_over(tmp_path, card, capsys):
    logs = put(tmp_path / "logs", card(1), card(2), card(3), card(4), card(5), card(6), card(7))
    paths = [logs / f"any/version_{index}/run.json" for index in range(7)]
    paths[1].write_text(paths[1].read_text()[:100])
    paths[2].write_bytes(b"")
    paths[3].write_bytes(b"\xff\xfe")
    paths[4].write_text("[1, 2]")
    for place, name in ((paths[5], "metrics"), (paths[6], "experiment")):
        content = json.loads(place.read_text())
        if name == "metrics":
            del content["metrics"]
        else:
            content["experiment"] = "../../elsewhere"
        place.write_text(json.dumps(content))
    collect(logs, tmp_path / "runs", task_parser())
    shutil.copy(paths[1], tmp_path / "runs/damaged.json")
    assert [each["seed"] for each in read_all(tmp_path / "runs", task_parser())] == [1]
    said = capsys.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if line.startswith("skipped: ")]
    assert len(lines) == 7
    assert all(any(str(path) in line for line in lines) for path in paths[1:])
    assert any("it has no metrics" in line for line in lines)
    assert any("'../../elsewhere' cannot name a folder" in line for line in lines)
    assert not list(tmp_path.parent.glob("elsewhere*"))
    for place in (paths[2], paths[2].parent):
        with pytest.raises(ValueError, match=rf"compare: no finished run at {place}: it has no run.json"):
            find_cards([place], task_parser())


def test_only_whole_runs_of_one_commit_are_collected(tmp_path, card, capsys):
    cards = [
        card(1),
        card(2),
        card(3, commit=40 * "a" + " with changes in cli.py"),
        card(4, commit="None"),
        card(5, partial={"train": 2}),
        card(6, commit=f"{40 * 'a'} then {40 * 'b'}"),
    ]
    collect(put(tmp_path / "logs", *cards), tmp_path / "runs", task_parser())
    assert [each["seed"] for each in read_all(tmp_path / "runs", task_parser())] == [1, 2]
    said = capsys.readouterr().out
    assert "version_2/run.json" in said
    assert "with changes in cli.py" in said
    assert "of a part of the data" in said


def test_the_newest_of_one_run_counts_and_devices_and_seeds_are_apart(tmp_path, card):
    """A seed is that of a chain: with another teacher it is the same run, done again."""
    cards = [
        card(1, date="2026-02-01"),
        card(1, date="2026-01-01", seconds=1.0),
        card(1, date="2026-03-01", device="1 x H100"),
        card(3, date="2026-03-01", teacher_sha256="a" * 64),
        card(3, date="2026-02-01", teacher_sha256="b" * 64, seconds=1.0),
        card(4, date="2026-02-01", teacher_sha256="b" * 64),
        card(2),
    ]
    runs = tmp_path / "runs"
    collect(put(tmp_path / "logs", *cards), runs, task_parser())
    kept = read_all(runs, task_parser())
    assert len(kept) == 5
    assert len({group_key(each) for each in kept}) == 2
    assert all(each["seconds"] != 1.0 for each in kept)
    newer = put(tmp_path / "later", card(1, date="2026-04-01", seconds=2.0))
    collect(newer, runs, task_parser())
    kept = read_all(runs, task_parser())
    assert len(kept) == 5
    assert sorted(each["seconds"] for each in kept)[0] == 2.0
    older = put(tmp_path / "older", card(1, date="2025-04-01", seconds=3.0))
    collect(older, runs, task_parser())
    assert read_all(runs, task_parser()) == kept


def test_what_is_collected_does_not_tell_where_it_lay(tmp_path, card):
    command = f"python cli.py fit --config {CONFIG} --trainer.default_root_dir /a/logs --seed_everything 1"
    made = card(1, command=command, teacher_ckpt="/a/logs/mine/x/version_3/checkpoints/best.ckpt", teacher_sha256="f")
    collect(put(tmp_path / "logs", made), tmp_path / "runs", task_parser())
    (path,) = (tmp_path / "runs").glob("*.json")
    kept = json.loads(path.read_text())
    assert kept["command"] == f"python cli.py fit --config {CONFIG} --seed_everything 1"
    assert kept["teacher_ckpt"] == "x/version_3/checkpoints/best.ckpt"
    assert {name for name in kept if kept[name] != made[name]} == {"command", "teacher_ckpt"}
    joined = made | {"command": made["command"].replace("_dir /a/logs", "_dir=/a/logs")}
    assert without_paths(joined)["command"] == kept["command"]
    others = without_paths(
        card(1, teacher_ckpt="/a/data/theirs.pth", recogniser_ckpt="/b/e/version_0/checkpoints/best.ckpt")
    )
    assert (others["teacher_ckpt"], others["recogniser_ckpt"]) == (
        "data/theirs.pth",
        "e/version_0/checkpoints/best.ckpt",
    )
    assert without_paths(card(1, teacher_ckpt=None))["teacher_ckpt"] is None


def test_a_card_without_an_option_of_today_has_its_default(tmp_path, card, configuration):
    old = card(1, config_hash="of another time")
    old["configuration"]["model"]["init_args"].pop("ema_decay")
    old["configuration"]["data"]["init_args"].pop("normalise")
    (tmp_path / "a.json").write_text(json.dumps(old))
    assert read(tmp_path / "a.json", task_parser())["config_hash"] == config_hash(configuration)
    old["configuration"]["data"]["init_args"]["normalise"] = False
    (tmp_path / "a.json").write_text(json.dumps(old))
    assert read(tmp_path / "a.json", task_parser())["config_hash"] != config_hash(configuration)
    old["configuration"]["model"]["init_args"]["no_more"] = 1
    (tmp_path / "a.json").write_text(json.dumps(old))
    assert read(tmp_path / "a.json", task_parser())["config_hash"] == "of another time"


def test_a_card_is_current_while_its_command_means_the_same(card, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert is_current(card(1), task_parser())
    assert is_current(card(1, command=f"python cli.py fit --config {CONFIG} --plots false"), task_parser())
    assert not is_current(card(1, command=f"python cli.py fit --config {CONFIG} --trainer.max_epochs 1"), task_parser())
    assert not is_current(card(1, command="python cli.py fit --config configs/none.yaml"), task_parser())


def test_rows_of_the_csv(tmp_path, card):
    write_csv([card(1), card(2, metrics={"test/acc": 0.5})], tmp_path / "results.csv")
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [row["test/acc"] for row in rows] == ["0.8100", "0.5000"]
    assert [row["val/acc_last"] for row in rows] == ["0.7100", ""]
    assert rows[0]["parameters_student"] == "1000"
    assert rows[1]["seed"] == "2"


def test_row_of_the_results_table(card):
    table = results_table([card(1), card(3), card(8)]).splitlines()
    # Of 1, 3 and 8: mean 4, standard deviation sqrt(13) = 3.61; the median time is that of seed 3.
    assert table[2] == (
        "| [mnist_mlp](../configs/mnist_mlp.yaml) | 1,000 (20.0% of the teacher's) | acc 84.00 ± 3.61 (3 seeds)"
        " | 94.00 ± 3.61, 74.00 ± 3.61, 64.00 ± 3.61 | 2 min, 2 CPU cores |"
    )
    assert len(table) == 5


def test_the_results_table_shows_the_teacher_of_each_seed(card):
    """Of 91, 93 and 98 %: mean 94, standard deviation sqrt(13) = 3.61."""
    cards = [card(seed) for seed in (1, 3, 8)]
    for each in cards:
        each["metrics"]["test/acc_teacher"] = 0.9 + each["seed"] / 100
    assert "| acc 84.00 ± 3.61, teacher 94.00 ± 3.61 (3 seeds) |" in results_table(cards)
    del cards[0]["metrics"]["test/acc_teacher"]
    assert "teacher 9" not in results_table(cards)


def test_results_are_apart_by_device_and_options_and_losses_are_no_percentages(card):
    words = f"python cli.py fit --config {CONFIG} --data.batch_size 4 --trainer.enable_progress_bar=false"
    other = card(2, device="1 x H100", headline=["test/acc", "test/loss"], command=words)
    rows = results_table([card(1), other]).splitlines()[2:4]
    assert "| 1,000 (20.0% of the teacher's) | acc 81.00 (1 seed) |" in rows[0]
    assert rows[1].startswith("| [mnist_mlp](../configs/mnist_mlp.yaml) `--data.batch_size=4` | 1,000 ")
    assert "| acc 82.00, loss 0.5200 (1 seed) |" in rows[1]
    assert rows[1].endswith("| 40 s, 1 x H100 |")
    unvalidated = card(1)
    unvalidated["metrics"] = {"test/acc": 0.9}
    assert "| acc 90.00 (1 seed) | -, -, - | 10 s, 2 CPU cores |" in results_table([unvalidated])


ROW = {"row": "X1", "experiment": "mnist_mlp", "system": "an MLP", "page": "x.md", "reported": "50", "public": "60"}


def test_row_of_the_systems_table(card):
    apart = card(9, command=f"python cli.py fit --config {CONFIG} --data.batch_size 4", config_hash="other")
    absent = [ROW | {"experiment": "absent"}, ROW | {"experiment": "absent", "needs": "a GPU"}]
    lines = systems_table([ROW, *absent], [card(1), card(3), apart]).splitlines()
    assert lines[2] == (
        "| [an MLP](x.md) | 50 | 60 | 82.00 ± 1.41 (2 seeds) | [mnist_mlp](../configs/mnist_mlp.yaml)"
        " | 50 s, 2 CPU cores |"
    )
    (with_options,) = systems_table([ROW | {"options": ["--data.batch_size=4"]}], [card(1), apart]).splitlines()[2:]
    assert "| 89.00 (1 seed) |" in with_options
    named = systems_table([ROW | {"metric": "test/loss"}], [card(1)]).splitlines()[2]
    assert f"| 50 | 60 | {card(1)['metrics']['test/loss']:.4f} (1 seed) |" in named
    cells = [
        card(9, command=f"{apart['command']} --experiment s/b", experiment=f"s/{cell}") for cell in ("a", "b", "b")
    ]
    (cell,) = systems_table([ROW | {"experiment": "s/b"}], cells).splitlines()[2:]
    assert "(2 seeds) | [sweeps/s](../configs/sweeps/s.yaml) |" in cell
    assert "| not run yet | [absent](../configs/absent.yaml) | - |" in lines[3]
    assert "| not run yet, needs a GPU | [absent](../configs/absent.yaml) | - |" in lines[4]


def test_front_has_the_chosen_rows_and_the_headline_first(card):
    """Three systems, of which the second is not for the front, and the third is the headline's."""
    systems = [ROW | {"front": "First"}, ROW, ROW | {"front": "Headline", "row": "A4", "reported": "70"}]
    lines = front_table(systems, [card(2)]).splitlines()
    assert lines[0] == "| task and data | ours, test | course | best public | time |"
    assert lines[2:] == [
        "| [Headline](docs/x.md) | 82.00 (1 seed) | 70 | 60 | 40 s, 2 CPU cores |",
        "| [First](docs/x.md) | 82.00 (1 seed) | 50 | 60 | 40 s, 2 CPU cores |",
    ]


@pytest.mark.parametrize(
    ("teachers", "said"),
    [("aaa", "3 seeds, one teacher"), ("abc", "3 seeds, 3 teachers"), ("aab", "3 seeds, 2 teachers")],
)
def test_a_spread_says_how_many_teachers_it_is_of(card, teachers, said):
    cards = [card(seed, teacher_sha256=64 * teacher) for seed, teacher in enumerate(teachers, 1)]
    assert figures(ROW, cards)[0] == f"82.00 ± 1.00 ({said})"


@pytest.mark.parametrize(("distil", "said"), [(True, "3 seeds, one teacher"), (False, "3 seeds")])
def test_a_teacher_that_only_watches_is_not_counted(card, distil, said):
    configuration = {"model": {"class_path": "KDTask", "init_args": {"distil": distil}}}
    cards = [card(seed, teacher_sha256=64 * "a", configuration=configuration) for seed in (1, 2, 3)]
    assert figures(ROW, cards)[0] == f"82.00 ± 1.00 ({said})"


def test_columns_are_left_out_of_a_table_by_their_names():
    table = "| a | b | c |\n|---|---|---|\n| b | 2 | 3 |\n\na | note; of b."
    assert without(table, ["b"]) == "| a | c |\n|---|---|\n| b | 3 |\n\na | note; of b."
    assert without(table, ["a", "c"]) == "| b |\n|---|\n| 2 |\n\na | note; of b."
    assert without(table, [""]) == table
    timed = "| a | time |\n|---|---|\n| b | 3 s |\n\n3 seeds per cell; median time of a run, on 2 CPU cores."
    assert without(timed, ["time"]) == "| a |\n|---|\n| b |\n\n3 seeds per cell; 2 CPU cores."
    assert without(timed, ["a"]).endswith("; median time of a run, on 2 CPU cores.")


def test_overrides_are_what_changes_the_run(card):
    words = (
        "--a.b=1 --seed_everything 3 --plots false --prepare false --c 2 --trainer.enable_model_summary false --flag"
    )
    assert overrides({"command": f"python cli.py fit --config x.yaml {words}"}) == ["--a.b=1", "--c=2", "--flag"]


def test_sections_are_filled_and_nothing_else():
    text = "a\n<!-- x y: made by make results -->\nold\n<!-- end of x y -->\nb"
    new = fill(text, lambda name: f"\\1 of {name}")
    assert new == "a\n<!-- x y: made by make results -->\n\\1 of x y\n<!-- end of x y -->\nb"
    with pytest.raises(ValueError, match="no section"):
        fill(text.replace("end of", "END OF"), str)
    with pytest.raises(ValueError, match="no section 'y'"):
        section("y", [])


def test_campaign_table(tmp_path):
    path = tmp_path / "campaign.csv"
    lines = [
        "what,tried,passed,failed,skipped,commit",
        '"Killed, resumed.",5,4,1,2,0123456789abcdef',
        "B.,7,7,0,3,fedcba9876543210",
    ]
    path.write_text("\n".join(lines) + "\n")
    table = campaign_table(path)
    assert "| Killed, resumed. | 5 | 4 | 1 |\n| B. | 7 | 7 | 0 |\n" in table
    assert "Commits 0123456789, fedcba9876; 5 skipped." in table


def test_benchmark_table(tmp_path):
    path = tmp_path / "benchmarks.csv"
    head = "name,other,unit,ours,theirs,ratio,bar,repeats,hardware\n"
    path.write_text(f"{head}load,PIL,s,1,4,4.123,2,7,x86\n")
    assert "| load | PIL | 1 s | 4 s | **4.12** | 2 |" in benchmark_table(path)
    assert benchmark_table(path).endswith("\nMedians of 7 pairs on x86.")
    path.write_text(f"{head}load,PIL,s,1,4,4.123,2,18,x86\nload,PIL,s,1,4,4.123,2,7,arm\n")
    assert benchmark_table(path).endswith("\nMedians of 7 to 18 pairs on arm or x86.")
    for line in ("load, cold,PIL,s,1,4,4.123,2,7,x86", "load, cold,s,1,4,4.123,2,7"):
        path.write_text(f"{head}{line}\n")
        with pytest.raises(ValueError, match=r"benchmarks\.csv: .*: load"):
            benchmark_table(path)


def test_the_whole_command_in_a_copy(tmp_path, card, monkeypatch, capsys):
    """Cards in, CSV and pages out."""
    from tools.results import __main__ as command

    for name in ("configs", "cli.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "results").mkdir()
    shutil.copy(ROOT / "results/systems.yaml", tmp_path / "results")
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("x")
    page = tmp_path / "docs/a.md"
    page.write_text("<!-- results mnist_mlp: made by make results -->\n<!-- end of results mnist_mlp -->")
    monkeypatch.setattr(command, "HERE", tmp_path / "results")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    stale = card(7, command=f"python cli.py fit --config {CONFIG} --trainer.max_epochs 1")
    command.write(put(tmp_path / "logs", card(1), stale))
    assert "acc 81.00 (1 seed) |" in page.read_text()
    assert "87.00" not in page.read_text()
    assert "not in the tables, since its config is another by now: mnist_mlp, seed 7" in capsys.readouterr().out
    assert len((tmp_path / "results/results.csv").read_text().splitlines()) == 3
