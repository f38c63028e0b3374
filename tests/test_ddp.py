"""Two processes on one CPU, joined by gloo: equal weights, different noise, no step lost, the same test."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import ROOT, TINY_BY_HAND, TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, run_cli

from lightning_tasks import ByHandTask, DFADTask
from lightning_tasks.runs.errors import describe

pytestmark = pytest.mark.ddp

# Writes what each rank saw to <rank>.json.
SPY = """
import json, sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
import lightning_tasks
from lightning_tasks.cli.main import main
from lightning_tasks.data_free import student_start

seen = {{"noise": [], "steps": 0}}
synthesise = lightning_tasks.DFADTask.synthesise
reconstruct = student_start.reconstruct
step = lightning_tasks.{task}.training_step

def spy_synthesise(self, maker):
    def spied(z):
        seen["noise"].append(z.flatten()[0].item())
        return maker(z)

    return synthesise(self, spied)

def spy_step(self, batch, batch_idx):
    seen["steps"] += 1
    return step(self, batch, batch_idx)

def spy_end(self):
    # Before the test, for which all ranks read the weights of one checkpoint.
    seen["weights"] = {{name: p.double().sum().item() for name, p in self.named_parameters()}}

def spy_reconstruct(small, large, images):
    # That of the second rank is to be replaced by the first's.
    channels = reconstruct(small, large, images)
    if torch.distributed.get_rank():
        for each in small.parameters():
            each.data.add_(1)
        channels = {{name: each.flip(0) for name, each in channels.items()}}
    return channels

if {same_noise}:
    lightning_tasks.DFADTask.epoch_seed = lambda self, epoch: self.seed + epoch
lightning_tasks.DFADTask.synthesise = spy_synthesise
student_start.reconstruct = spy_reconstruct
lightning_tasks.{task}.training_step = spy_step
lightning_tasks.{task}.on_train_end = spy_end
run = main(sys.argv[1:])
task = run.trainer.lightning_module
metrics = {{name: value.item() for name, value in run.trainer.callback_metrics.items()}}
seen["metrics"] = {{name: value for name, value in metrics.items() if name.startswith("test/")}}
if hasattr(task, "fake_class_counts"):
    seen["seen"] = int(task.fake_class_counts.sum())
seen["tested"] = int(task.test_confusion.compute().sum())
with open(f"{{run.trainer.global_rank}}.json", "w") as file:
    json.dump(seen, file)
torch.distributed.destroy_process_group()
"""
TWO = ["--trainer.devices=2"]


@pytest.fixture
def run_two(children, tmp_path):
    def run(task, *words, same_noise=False):
        Path("spy.py").write_text(SPY.format(root=str(ROOT), task=task, same_noise=same_noise))
        for done in children.run_two(["fit", *words], tmp_path, "spy"):
            assert done.status == 0, done.err
        return [json.loads(Path(f"{rank}.json").read_text()) for rank in (0, 1)]

    return run


def run_alone(task, monkeypatch, *words):
    """Give the sums of weights at the end of training, as the spy does."""
    sums = {}
    keep = lambda self: sums.update({name: p.double().sum().item() for name, p in self.named_parameters()})  # noqa: E731
    monkeypatch.setattr(task, "on_train_end", keep)
    run_cli("fit", *words)
    return sums


def test_distillation(teacher_ckpt, run_two):
    ranks = run_two(
        "DFADTask",
        *TINY_DFAD,
        *TINY_DATA,
        *TINY_TRAINER,
        *TWO,
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--trainer.max_epochs=2",
    )
    assert ranks[0]["steps"] == ranks[1]["steps"] == 2 * 2
    assert len(ranks[0]["noise"]) == 2 * 2 * 6
    assert not set(ranks[0]["noise"]) & set(ranks[1]["noise"])
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["metrics"] == ranks[1]["metrics"]
    assert list(Path("logs/dfad").iterdir()) == [Path("logs/dfad/version_0")]
    card = json.loads(Path("logs/dfad/version_0/run.json").read_text())
    assert card["device"].startswith("2 x CPU")
    assert ranks[0]["seen"] == ranks[1]["seen"] == 2 * 2 * 5 * 8  # ranks, rounds, steps, images
    assert card["metrics"]["test/acc_10pct"] == ranks[1]["metrics"]["test/acc_10pct"]


@pytest.mark.slow
def test_steps_from_a_common_start_are_shared(teacher_ckpt, run_two):
    ranks = run_two(
        "DFADTask",
        *TINY_DFAD,
        *TINY_DATA,
        *TINY_TRAINER,
        *TWO,
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--model.generator_training.meta_generator=MetaGenerator",
        "--model.generator_training.steps=2",
        "--model.memory_bank=MemoryBank",
        "--trainer.max_epochs=2",
    )
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["metrics"] == ranks[1]["metrics"]
    assert ranks[0]["seen"] == ranks[1]["seen"] == 2 * 2 * 8  # ranks, rounds, images


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--model.gradient_clip_norm=0.1"],
        [
            "--model.generator_training.meta_generator=MetaGenerator",
            "--model.generator_training.steps=2",
            "--model.memory_bank=MemoryBank",
        ],
        [
            "--model.generator_training.pretrain_epochs=1",
            "--model.objective.losses=[{class_path: BatchNormStatisticsLoss}]",
            "--model.student_training.reconstruct=true",
            "--model.student_training.feature_loss=FeatureLoss",
            "--model.student_training.feature_loss.layers=[layer1.0,layer2.0]",
        ],
    ],
    ids=["in turns", "from a common start", "reconstructed"],
)
def test_equal_images_on_two_devices_teach_what_they_teach_on_one(options, teacher_ckpt, monkeypatch, run_two):
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.max_epochs=2"]
    words += ["--model.ema_decay=0.5", "--model.generator_ema_decay=0.5", *options]
    ranks = run_two("DFADTask", *words, *TWO, "--experiment=two", same_noise=True)
    monkeypatch.setattr(DFADTask, "epoch_seed", lambda self, epoch: self.seed + epoch)
    alone = run_alone(DFADTask, monkeypatch, *words, "--experiment=one")
    assert ranks[0]["weights"] == ranks[1]["weights"] == alone


@pytest.mark.slow
def test_classifier_shares_an_epoch_and_tests_every_sample_alike(run_two):
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=2", "--model.ema_decay=0.5"]
    ranks = run_two("ClassificationTask", *words, *TWO)
    assert ranks[0]["steps"] == 2 * 2  # 100 images, 25 a batch, 2 ranks
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert any(name.startswith("ema.") for name in ranks[0]["weights"])
    assert ranks[0]["metrics"] == ranks[1]["metrics"]
    assert ranks[0]["tested"] == ranks[1]["tested"] == 100  # each rank tests all: as on one device
    ckpt = "logs/teacher/version_0/checkpoints/best.ckpt"
    alone = run_cli("test", *words, f"--ckpt_path={ckpt}").trainer.callback_metrics
    for name in ("test/acc", "test/acc_ema"):
        assert torch.tensor(ranks[0]["metrics"][name]) == alone[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "options"),
    [("ClassificationTask", TINY_TEACHER), pytest.param("DFADTask", TINY_DFAD, marks=pytest.mark.slow)],
    ids=["classifier", "data-free"],
)
def test_validation_judges_the_weights_and_statistics_that_are_saved(task, options, teacher_ckpt, run_two):
    """Each rank has seen other images, so its BatchNorm layers know other means; the checkpoint has those of rank 0."""
    words = [*options, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=2", "--model.ema_decay=0.5"]
    if task == "DFADTask":
        words += [f"--model.teacher_ckpt={teacher_ckpt}", "--model.generator_ema_decay=0.5"]
    run_two(task, *words, *TWO, "--experiment=two")
    card = json.loads(Path("logs/two/version_0/run.json").read_text())["metrics"]
    again = run_cli("validate", *words, "--experiment=two", "--ckpt_path=last").trainer.callback_metrics
    names = {name for name in again if name.startswith("val/")}
    assert {"val/loss", "val/loss_ema"} <= names
    for name in names:
        assert card[f"{name}_last"] == pytest.approx(again[name].item(), rel=1e-6)


@pytest.mark.parametrize("update_every", ["mini-batch", pytest.param("epoch", marks=pytest.mark.slow)])
def test_network_by_hand_averages_its_gradients(update_every, monkeypatch, run_two):
    words = [*TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=2", f"--model.update_every={update_every}"]
    ranks = run_two("ByHandTask", *words, *TWO, "--experiment=two")
    assert ranks[0]["steps"] == ranks[1]["steps"] == 2 * 2  # 100 images, 25 a batch, 2 ranks
    assert ranks[0]["weights"] == ranks[1]["weights"]
    # The two batches of 25 are every other image of the 50 that one device would have taken.
    alone = run_alone(ByHandTask, monkeypatch, *words, "--data.batch_size=50", "--experiment=one")
    assert ranks[0]["weights"] == pytest.approx(alone, rel=1e-3, abs=1e-4)


PYTHON = """
import json, sys
for folder in {folders!r}:
    sys.path.insert(0, folder)
import pytorch_lightning as pl, torch
from helpers.scripted import ScriptedDataModule, ScriptedNetwork
from lightning_tasks import ClassificationTask

torch.set_num_threads(1)
data = ScriptedDataModule(eval_batch_size=4)
task = ClassificationTask(data.data_spec, network=ScriptedNetwork)
trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_progress_bar=False)
metrics = trainer.test(task, data, verbose=False)[0]
with open(f"{{trainer.global_rank}}.json", "w") as file:
    json.dump([metrics, int(task.test_confusion.compute().sum())], file)
torch.distributed.destroy_process_group()  # else gloo's threads may abort the process as it ends
"""


@pytest.mark.slow
def test_lightnings_own_sampler_from_python_leaves_the_figures_alone():
    """Each rank tests all ten images, of which the script has one right."""
    Path("mine.py").write_text(PYTHON.format(folders=[str(ROOT), str(Path(__file__).parent)]))
    done = subprocess.run([sys.executable, "mine.py"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        metrics, tested = json.loads(Path(f"{rank}.json").read_text())
        assert metrics["test/acc"] == pytest.approx(0.1)
        assert tested == 10


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:20: Connection reset by peer", "Connection reset by"),
        ("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:43289", "Connection closed by peer"),
        ("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 1800000ms for recv", "Timed out waiting"),
        ("recvValue failed on SocketImpl(fd=3): Connection was likely closed. Did it crash?", "Connection was likely"),
        ("Timed out after 6 seconds waiting for clients. 1/2 clients joined.", "Timed out after 6 seconds waiting"),
        ("The client socket has timed out after 5000ms while trying to connect to", "timed out after 5000ms while tr"),
        ("[../gloo/transport]\nTimed out waiting 5000ms for recv", "Timed out waiting"),
        ("Application timeout caused pair closure", "Application timeout"),
        ("NCCL error: remote process exited or there was a network error", "remote process exited"),
        ("TCPStore: the server socket has failed to listen on port 29500: EADDRINUSE", None),
        ("a server of images: Connection reset by peer", None),
    ],
)
def test_an_error_says_that_another_process_has_ended(said, lost, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cli.py", "fit"])
    line = describe(RuntimeError(said))
    has = "does not answer" if re.search("timed out|timeout", said.lower()) else "has ended"
    assert line.startswith(f"another process of this run {has} ({lost}" if lost else "RuntimeError: ")
    assert line.endswith("--ckpt_path last resumes from the last epoch") == bool(lost)
