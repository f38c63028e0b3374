"""What makes two runs the same, what `last` resumes, and what is never rewritten."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.commands import ROOT, TINY_DATA, TINY_TEACHER, TINY_TRAINER, run_card, run_cli
from jsonargparse import Namespace

from lightning_tasks.callbacks.run_card import commit
from lightning_tasks.cli.parser import task_parser
from lightning_tasks.runs.data_spec import require_equal
from lightning_tasks.runs.folders import require_experiment
from lightning_tasks.runs.identity import config_hash, configuration, differences, read_command, read_run
from lightning_tasks.runs.seed import run_seed

WORDS = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=2"]
RUN = Path("logs/teacher/version_0")


def hash_of(*words):
    return config_hash(read_command(task_parser(), ["fit", *WORDS, *words]))


@pytest.mark.parametrize(
    "word",
    [
        "--seed_everything=7",
        "--experiment=other",
        "--plots=false",
        "--trainer.callbacks=[CurvesPlot, ConfusionPlot, LearningRateMonitor]",
        "--trainer.logger=false",
        "--trainer.log_every_n_steps=7",
        "--trainer.enable_progress_bar=true",
        "--trainer.default_root_dir=elsewhere",
        "--trainer.accelerator=auto",
        "--data.num_workers=2",
        "--data.eval_batch_size=7",
        "--data.root=elsewhere",
    ],
)
def test_what_only_watches_does_not_count(word):
    assert hash_of(word) == hash_of()


@pytest.mark.parametrize(
    "word",
    [
        "--trainer.max_epochs=3",
        "--trainer.devices=2",
        "--trainer.precision=bf16-mixed",
        "--trainer.limit_train_batches=1",
        "--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val/acc}}]",
        "--checkpoint_best.monitor=val/loss",
        "--checkpoint_best.mode=min",
        "--data.batch_size=7",
        "--data.split_seed=7",
        "--data.train_per_class=9",
        "--model.network.width=8",
        "--model.label_smoothing=0.1",
        "--model.optimizer=Adam",
    ],
)
def test_what_changes_a_figure_counts(word):
    assert hash_of(word) != hash_of()


def test_one_batch_is_not_all_of_them():
    assert hash_of("--trainer.limit_train_batches=1") != hash_of("--trainer.limit_train_batches=1.0")


def test_options_that_differ_are_named_as_the_command_line_does():
    theirs = {"model": {"class_path": "A", "init_args": {"x": 1, "net": {"class_path": "N", "init_args": {"w": 2}}}}}
    ours = {"model": {"class_path": "A", "init_args": {"x": 2, "net": {"class_path": "M"}}, "list": [{"a": 1}]}}
    assert differences(theirs, ours) == {
        "model.x": (1, 2),
        "model.net": ("N", "M"),
        "model.net.w": (2, None),
        "model.list[0].a": (None, 1),
    }
    assert differences(ours, ours) == {}


def test_the_order_of_options_does_not_count():
    assert config_hash({"a": 1, "b": {"c": 2, "d": 3}}) == config_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
    assert config_hash({"a": 1}) != config_hash({"b": 1})


def test_configuration_is_plain_data_and_the_config_is_left_alone():
    config = Namespace(
        model=Namespace(class_path="A", init_args=Namespace(shape=(1, 2))),
        data=Namespace(class_path="D", init_args=Namespace(root="r", batch_size=3, num_workers=2, eval_batch_size=4)),
        trainer=Namespace(max_epochs=1, callbacks=None, logger=True),
        checkpoint_best=Namespace(monitor="m", mode="min"),
    )
    assert configuration(config) == {
        "model": {"class_path": "A", "init_args": {"shape": [1, 2]}},
        "data": {"class_path": "D", "init_args": {"batch_size": 3}},
        "trainer": {"max_epochs": 1, "callbacks": None},
        "checkpoint_best": {"monitor": "m", "mode": "min"},
    }
    assert config.data.init_args.root == "r"


class TestLast:
    @pytest.mark.slow
    def test_goes_on_with_a_run_of_the_same_configuration_only(self, capsys):
        run_cli("fit", *WORDS, "--trainer.max_epochs=1", "--test_after_fit=false")
        with pytest.raises(ValueError, match=r"with other options \(model.label_smoothing 0.0 there, 0.1"):
            run_cli("fit", *WORDS, "--trainer.max_epochs=1", "--ckpt_path=last", "--model.label_smoothing=0.1")
        assert not Path("logs/teacher/version_1").exists()
        run_cli("fit", *WORDS, "--trainer.max_epochs=1", "--ckpt_path=last", "--data.eval_batch_size=7")
        assert f"ckpt_path: {RUN}/checkpoints/last.ckpt\n" in capsys.readouterr().out
        assert run_card("teacher")["epochs"] == 1

    @pytest.mark.slow
    def test_a_damaged_card_is_written_anew(self, capsys):
        run_cli("fit", *WORDS)
        before = run_card("teacher")["metrics"]
        (RUN / "run.json").write_text("{half")
        run_cli("fit", *WORDS, "--ckpt_path=last")
        assert f"skipped: {RUN}/run.json is no run card" in capsys.readouterr().err
        assert run_card("teacher")["metrics"] == before

    @pytest.mark.slow
    def test_a_finished_card_stands(self, capsys):
        run_cli("fit", *WORDS)
        card = (RUN / "run.json").read_bytes()
        with pytest.raises(SystemExit) as stop:
            run_cli("fit", *WORDS, "--ckpt_path=last")
        assert not stop.value.code
        assert f"{RUN} is finished, and its run card stands" in capsys.readouterr().out
        with pytest.raises(ValueError, match=r"trainer.max_epochs 2 there, 1 here"):
            run_cli("fit", *WORDS, "--trainer.max_epochs=1", "--ckpt_path=last")
        with pytest.raises(ValueError, match=r"label_smoothing 0.0 there, 0.1 here; trainer.max_epochs 2 there, 3"):
            run_cli("fit", *WORDS, "--trainer.max_epochs=3", "--model.label_smoothing=0.1", "--ckpt_path=last")
        assert (RUN / "run.json").read_bytes() == card
        run_cli("fit", *WORDS, "--trainer.max_epochs=3", "--ckpt_path=last")
        assert "trained on from 2 to 3 epochs" in capsys.readouterr().out
        assert run_card("teacher")["epochs"] == 3

    @pytest.mark.slow
    def test_the_same_run_comes_before_a_newer_shorter_one(self):
        run_cli("fit", *WORDS, "--test_after_fit=false")
        run_cli("fit", *WORDS, "--trainer.max_epochs=1", "--test_after_fit=false")
        cli = run_cli("fit", *WORDS, "--ckpt_path=last")
        assert Path(cli.trainer.log_dir).name == "version_0"

    def test_none_is_a_new_run(self, capsys):
        run_cli("fit", *WORDS, "--ckpt_path=last")
        assert "no run to resume" in capsys.readouterr().out
        assert run_card("teacher")["epochs"] == 2

    @pytest.mark.slow
    def test_an_unseeded_run_goes_on(self):
        words = [*WORDS, "--seed_everything=false"]
        run_cli("fit", *words, "--trainer.max_epochs=1")
        run_cli("fit", *words, "--ckpt_path=last")
        assert run_card("teacher")["epochs"] == 2

    def test_what_cannot_be_read_is_no_run(self):
        run_cli("fit", *WORDS, "--test_after_fit=false")
        (RUN / "config.yaml").write_text("model: [")
        run_cli("fit", *WORDS, "--ckpt_path=last")
        assert run_card("teacher", 1)["epochs"] == 2


def test_a_run_is_read_back_as_it_was_made():
    run_cli("fit", *WORDS, "--test_after_fit=false", "--seed_everything=9")
    seed, theirs = read_run(task_parser(), RUN)
    assert seed == 9
    assert differences(theirs, read_command(task_parser(), ["fit", *WORDS])) == {}


def test_seeds_from_python_make_different_runs(monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    seeds = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        seeds.append(run_seed())
    assert seeds[0] == seeds[2] != seeds[1]
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert run_seed() == 5


def test_facts_are_compared_as_a_whole():
    facts = {"dataset": "a", "num_classes": 3, "mean": (0.5,)}
    require_equal(facts, {**facts, "mean": [0.5]}, "x")
    require_equal(None, facts, "x")
    with pytest.raises(ValueError, match=r"^x with num_classes 3, mean \[0.5\]; this run has 4, \[0.1\]$"):
        require_equal(facts, {**facts, "num_classes": 4, "mean": (0.1,)}, "x")
    with pytest.raises(ValueError, match="x with std None; this run has 1"):
        require_equal(facts, {**facts, "std": 1}, "x")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "", ".", "a/../b", "a//b", "a\nb", "a b", "~x"])
def test_an_experiment_stays_below_the_logs(name):
    with pytest.raises(ValueError, match="experiment: "):
        require_experiment(name)
    with pytest.raises(ValueError, match="cannot name a folder below the logs"):
        run_cli("fit", *WORDS, f"--experiment={name}")
    assert not Path("logs").exists()


@pytest.mark.parametrize("name", ["x", "sweep/70-30,mini-batch-GD,random,on", "a.b", "a=1"])
def test_usual_names_are_fine(name):
    require_experiment(name)


def test_only_code_of_the_project_makes_a_commit_dirty(tmp_path):
    def git(*words):
        environment = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
        environment |= {"GIT_COMMITTER_EMAIL": "a@b"}
        done = subprocess.run(
            ["git", *words], cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert commit(tmp_path / "nowhere") is None
    git("init", "-q")
    (tmp_path / "datamodules").mkdir()
    (tmp_path / "datamodules/a.py").write_text("1")
    (tmp_path / "lightning_tasks/runs").mkdir(parents=True)
    (tmp_path / "lightning_tasks/runs/a.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "x")
    head = git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("1")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/mine.yaml").write_text("1")
    assert commit(tmp_path) == head
    (tmp_path / "lightning_tasks/runs/new.py").write_text("1")
    (tmp_path / "datamodules/a.py").write_text("2")
    assert commit(tmp_path) == f"{head} with changes in datamodules/a.py, lightning_tasks/runs/new.py"
    inside = tmp_path / ".venv/lib/site-packages"
    inside.mkdir(parents=True)
    assert commit(inside) is None  # of an installed package, in somebody else's repository


@pytest.mark.parametrize(
    ("number", "name"), [("SIGTERM", "SIGTERM"), pytest.param("SIGINT", "Ctrl-C", marks=pytest.mark.slow)]
)
def test_a_terminated_run_says_how_to_go_on(children, tmp_path, number, name):
    """SIGTERM, as Slurm and systemd send it, or Ctrl-C."""
    Path("stopped.py").write_text(
        "import os, signal, lightning_tasks\n"
        "from lightning_tasks import cli\n"
        "step = lightning_tasks.ClassificationTask.training_step\n"
        "def stopped(self, batch, index):\n"
        f"    if self.current_epoch == 1: os.kill(os.getpid(), signal.{number})\n"
        "    return step(self, batch, index)\n"
        "lightning_tasks.ClassificationTask.training_step = stopped\n"
        "cli.command()"
    )
    words = ["fit", *WORDS, "--trainer.max_epochs=3"]
    done = children.run(words, tmp_path, "stopped")
    assert done.status == 128 + getattr(signal, number), done.err
    assert "Traceback" not in done.err
    line = done.err.rstrip().splitlines()[-1]
    assert line == f"stopped by {name}; the same command with --ckpt_path last resumes from the last epoch"
    assert torch.load(tmp_path / RUN / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 0
    run_cli(*words, "--ckpt_path=last")
    assert run_card("teacher")["epochs"] == 3


@pytest.mark.parametrize("number", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("ClassificationTask.setup", " before the run has begun"),
        ("ClassificationTask.configure_optimizers", " before the run has begun"),
        ("ClassificationTask.test_step", "; the same command with --ckpt_path last resumes from the last epoch"),
        ("callbacks.RunCard.write", "; the same command with --ckpt_path last resumes from the last epoch"),
    ],
)
def test_a_signal_before_and_after_training(children, tmp_path, hook, said, number):
    """While data are decoded or features computed, in the test, and after it, where Lightning no longer listens."""
    Path("stopped.py").write_text(
        "import os, signal, lightning_tasks, lightning_tasks.callbacks\n"
        "from lightning_tasks import cli\n"
        f"hook = lightning_tasks.{hook}\n"
        "def stopped(*args, **options):\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
        "    return hook(*args, **options)\n"
        f"lightning_tasks.{hook} = stopped\n"
        "cli.command()"
    )
    done = children.run(["fit", *WORDS], tmp_path, "stopped")
    name = "Ctrl-C" if number == "SIGINT" else number
    assert done.status == 128 + getattr(signal, number), done.err
    assert "Traceback" not in done.err
    assert done.err.rstrip().splitlines()[-1] == f"stopped by {name}{said}"
    run_cli("fit", *WORDS, *(["--ckpt_path=last"] if "last" in said else []))
    assert run_card("teacher")["metrics"]["test/acc"] > 0


def test_a_terminated_test_says_so(children, tmp_path):
    run_cli("fit", *WORDS)
    Path("stopped.py").write_text(
        "import os, signal, lightning_tasks\n"
        "from lightning_tasks import cli\n"
        "lightning_tasks.ClassificationTask.test_step = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
        "cli.command()"
    )
    done = children.run(["test", *WORDS, "--ckpt_path=best"], tmp_path, "stopped")
    assert (done.status, done.err.rstrip().splitlines()[-1]) == (143, "stopped by SIGTERM"), done.err


def test_forked_workers_end_at_once():
    """A scheduler sends SIGTERM to all processes; one that waits for images to decode has nothing to say."""
    script = """
import os, signal, time
from lightning_tasks.runs import signals
signals.end_in_one_line()
signals.end_by_exception()
if (child := os.fork()) == 0:
    print("ready", flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(1)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"ready\n{-signal.SIGTERM}\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_command_starts(tmp_path, number):
    """Imports take seconds; then there is nothing to resume."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "fit", *WORDS], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    status = Path(f"/proc/{process.pid}/status")
    while not int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) >> (signal.SIGTERM - 1) & 1:
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (128 + number, f"stopped by {number.name} before the run has begun\n")
    assert list(tmp_path.iterdir()) == []
