"""Processes of one run with different inputs, or one that hangs: all exit soon with a one-line error."""

import contextlib
import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
import torch
from helpers.commands import ROOT, TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, image_folder

pytestmark = pytest.mark.ddp

COMMON = [*TINY_TRAINER, "--trainer.num_nodes=2", "--trainer.strategy=ddp", "--plots=false"]
TEACHER = ["fit", *TINY_TEACHER, *TINY_DATA, *COMMON]
SHORT = [*TEACHER, "--trainer.max_epochs=2"]
LONG = [*TEACHER, "--trainer.max_epochs=100000"]
DFAD = ["fit", *TINY_DFAD, *TINY_DATA, *COMMON, "--trainer.max_epochs=1"]
LAST = "logs/teacher/version_0/checkpoints/last.ckpt"
SOON = 40  # seconds, with the start of both
GO_ON = "; the same command with --ckpt_path last resumes from the last epoch"
SAME_COMMAND = "give all processes the same command and the same configs"
NO_ANSWER = [  # gloo says it in two ways
    f"error: another process of this run does not answer ({said}){GO_ON}"
    for said in ("Timed out waiting", "Application timeout")
]
LIMIT = ["--trainer.strategy=DDPStrategy", "--trainer.strategy.timeout=0:00:04"]


@pytest.fixture
def machines(children, tmp_path):
    """Two machines without a common folder."""
    with contextlib.closing(Machines(children, tmp_path)) as made:
        yield made


class Machines:
    def __init__(self, children, folder):
        self._children = children
        self.folders = [folder / name for name in ("first", "second")]
        for each in self.folders:
            each.mkdir()
        self._running = set()

    def start(self, words, others=None, ranks=(0, 1), of_second=None, **options):
        """Start the same command on both; the second may have other words, and other options of its process."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        pids = []
        for rank in ranks:
            own = options | (of_second or {} if rank else {}) | {"environment": {**place, "NODE_RANK": str(rank)}}
            pids.append(self._children.start(others if rank and others else words, self.folders[rank], **own))
        self._running |= set(pids)
        return pids

    def finish(self, pid, timeout=SOON):
        """Wait for the end: status, and the lines that say why."""
        done = self._children.finish(pid, timeout)
        self._running.discard(pid)
        assert "Traceback" not in done.err
        return done.status, [line for line in done.err.splitlines() if line.startswith(("error", "stopped"))]

    def run(self, *args, **options):
        return [self.finish(pid) for pid in self.start(*args, **options)]

    def wait_for(self, path):
        for _ in range(600):
            if (self.folders[0] / path).is_file():
                return
            time.sleep(0.05)
        raise AssertionError(f"no {path}")

    def close(self):
        for pid in list(self._running):
            os.kill(pid, signal.SIGKILL)
            self._children.finish(pid)


def assert_refused(ended, said):
    """Both ended with the same line, which names what differs and what to do."""
    host = socket.gethostname()
    line = f"error: the processes of this run differ: {said}".replace("RANK0", f"rank 0 ({host})")
    line = line.replace("RANK1", f"rank 1 ({host})")
    for status, lines in ended:
        assert status == 1
        assert len(lines) == 1
        if "SHA" in line:  # of content
            lines = [re.sub(r"SHA-256 \w{12}", "SHA", lines[0])]
        assert lines == [line]


@pytest.mark.slow
def test_a_checkpoint_that_one_machine_has(machines):
    assert machines.run(SHORT) == [(0, []), (0, [])]
    words = [*TEACHER, "--trainer.max_epochs=3", "--ckpt_path=last"]
    before = (machines.folders[0] / LAST).read_bytes()
    assert_refused(
        machines.run(words),
        "the checkpoint is SHA on RANK0, none on RANK1; the best checkpoint beside it is SHA on RANK0, none on RANK1:"
        " share the folder of the runs between the machines, or copy the run's folder to each",
    )
    assert (machines.folders[0] / LAST).read_bytes() == before
    assert not list(machines.folders[1].rglob("version_*"))
    shutil.copytree(machines.folders[0] / "logs", machines.folders[1] / "logs")  # as is said
    assert machines.run(words) == [(0, []), (0, [])]
    assert torch.load(machines.folders[0] / LAST, weights_only=True)["epoch"] == 2


OTHERS = {
    "learning rate": (
        ["--model.optimizer.lr=0.5"],
        f"model.optimizer.lr is 0.1 on RANK0, 0.5 on RANK1: {SAME_COMMAND}",
    ),
    "split": (["--data.split_seed=5"], f"data.split_seed is 0 on RANK0, 5 on RANK1: {SAME_COMMAND}"),
    "seed": (
        ["--seed_everything=7"],
        f"seed_everything is 42 on RANK0, 7 on RANK1; PL_GLOBAL_SEED is 42 on RANK0, 7 on RANK1: {SAME_COMMAND}",
    ),
    "plots": (["--plots=true"], f"plots is False on RANK0, True on RANK1: {SAME_COMMAND}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", OTHERS)
def test_other_options(what, machines):
    words, said = OTHERS[what]
    assert_refused(machines.run(SHORT, [*SHORT, *words]), said)
    assert not list(machines.folders[0].rglob("version_*"))  # nor is anything left


@pytest.mark.slow
@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_other_options_of_an_evaluation(subcommand, machines):
    assert machines.run(SHORT) == [(0, []), (0, [])]
    shutil.copytree(machines.folders[0] / "logs", machines.folders[1] / "logs")
    words = [subcommand, *SHORT[1:], "--ckpt_path=last"]
    said = f"data.test_per_class is 10 on RANK0, 9 on RANK1: {SAME_COMMAND}"
    assert_refused(machines.run(words, [*words, "--data.test_per_class=9"]), said)


@pytest.mark.slow
def test_another_teacher(machines, teacher_ckpt):
    for folder in machines.folders:
        shutil.copy(teacher_ckpt, folder / "teacher.ckpt")
    words = [*DFAD, "--model.teacher_ckpt=teacher.ckpt"]
    assert machines.run(words) == [(0, []), (0, [])]
    other = torch.load(machines.folders[1] / "teacher.ckpt", weights_only=True)
    next(iter(other["state_dict"].values()))[0] += 1e-3
    torch.save(other, machines.folders[1] / "teacher.ckpt")
    said = "model.teacher_ckpt is SHA on RANK0, SHA on RANK1: copy the file to each machine"
    assert_refused(machines.run(words), said)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["project", "own network"])
def test_other_code(other, machines):
    network = "torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, num_classes))"
    for number, folder in enumerate(machines.folders):
        text = f"import torch\n\n\ndef net(num_classes):\n    number = {number}\n    return {network}\n"
        (folder / "mine.py").write_text(text)
    words, of_second, name = [*SHORT, "--model=ClassificationTask", "--model.network=mine.net"], None, "mine.py"
    if other == "project":
        words, of_second, name = SHORT, {"settings": {"lightning_tasks.runs.code.CODE": ["cli.py"]}}, "this project"
    said = f"{name} is SHA on RANK0, SHA on RANK1: install the same on each machine"
    assert_refused(machines.run(words, of_second=of_second), said)


@pytest.mark.slow
def test_other_images(machines):
    """As many, of the same classes and the same statistics: the classes have each other's."""
    for folder, names in zip(machines.folders, ("ab", "ba"), strict=True):
        image_folder(folder / "images", {"train": 20, "test": 5}, names, size=(16, 16))
    words = [*TEACHER[:1], *TINY_TEACHER, "--data=ImageFolderDataModule", "--data.folder=images", *COMMON]
    ended = machines.run([*words, "--data.batch_size=10", "--trainer.max_epochs=2"])
    assert [status for status, _ in ended] == [1, 1]
    assert ended[0][1] == ended[1][1]
    assert "mean of samples of data.train_set is " in ended[0][1][0]
    assert ended[0][1][0].endswith(": copy the data to each machine")


@pytest.mark.slow
def test_refusals_of_one_machine_end_both(machines):
    """A run that is finished there, or was made with other options."""
    assert machines.run(SHORT) == [(0, []), (0, [])]
    shutil.copytree(machines.folders[0] / "logs", machines.folders[1] / "logs")
    words = [*SHORT, "--ckpt_path=last"]
    assert machines.run(words) == [(0, []), (0, [])]  # finished on both
    card = machines.folders[0] / "logs/teacher/version_0/run.json"
    card.unlink()
    ended = machines.run(words)
    assert "the checkpoint is SHA-256 " in ended[0][1][0]
    assert "of a finished run on rank 1" in ended[0][1][0]
    assert [status for status, _ in ended] == [1, 1]
    said = f"model.optimizer.lr is 0.1 on RANK0, 0.5 on RANK1: {SAME_COMMAND}"
    assert_refused(machines.run(words, [*words, "--model.optimizer.lr=0.5"]), said)


@pytest.mark.slow
def test_nothing_is_read_from_the_first_machine(machines):
    """The second one cannot see its checkpoints; pictures ask for the best epoch."""
    words = [*SHORT, "--plots=true", "--trainer.callbacks=CurvesPlot"]
    assert machines.run(words, of_second={"hidden": machines.folders[0]}) == [(0, []), (0, [])]
    assert (machines.folders[0] / "logs/teacher/version_0/run.json").is_file()
    assert list(machines.folders[1].iterdir()) == []


# One that stands still


def freeze(machines, frozen, words=LONG, **options):
    """Start, freeze a process in an epoch, and give the other one, which soon waits for it."""
    pids = machines.start(words, **options)
    machines.wait_for(LAST)
    os.kill(pids[frozen], signal.SIGSTOP)
    time.sleep(1)
    return pids[1 - frozen]


@pytest.mark.slow
def test_the_second_signal_ends_a_process_that_waits(machines):
    waiting = freeze(machines, 1)
    os.kill(waiting, signal.SIGTERM)
    time.sleep(1.2)
    os.kill(waiting, signal.SIGTERM)
    assert machines.finish(waiting, 5) == (143, [f"stopped by SIGTERM{GO_ON}"])


@pytest.mark.slow
def test_the_wait_has_an_end(machines):
    waiting = freeze(machines, 1, [*LONG, *LIMIT])
    status, lines = machines.finish(waiting, 20)
    # gloo has two words for it, by which of its operations has waited longer.
    assert status == 1
    (line,) = lines
    assert line in NO_ANSWER


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize(("number", "name", "status"), [("SIGTERM", "SIGTERM", 143), ("SIGINT", "Ctrl-C", 130)])
def test_the_first_signal_ends_it_within_thirty_seconds(number, name, status, frozen, machines):
    waiting = freeze(machines, frozen)
    start = time.monotonic()
    os.kill(waiting, getattr(signal, number))
    os.kill(waiting, getattr(signal, number))  # a launcher that hands on what all were sent
    assert machines.finish(waiting, 40) == (status, [f"stopped by {name}{GO_ON}"])
    assert 15 < time.monotonic() - start < 30


@pytest.mark.slow
@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_evaluations_end_too(subcommand, machines):
    assert machines.run(SHORT) == [(0, []), (0, [])]
    shutil.copytree(machines.folders[0] / "logs", machines.folders[1] / "logs")
    words = [subcommand, *SHORT[1:], "--ckpt_path=last"]
    waiting, frozen = machines.start(
        words, settings={"lightning_tasks.runs.signals.GRACE": 3.0}, of_second={"stops": True}
    )
    while Path(f"/proc/{frozen}/stat").read_text().split()[2] != "T":
        time.sleep(0.05)
    time.sleep(3)
    os.kill(waiting, signal.SIGTERM)
    status, lines = machines.finish(waiting, 20)
    assert (status, lines) == (143, ["stopped by SIGTERM"])


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_alone(rank, machines):
    """The other one has not been started."""
    (alone,) = machines.start([*LONG, *LIMIT], ranks=[rank])
    status, lines = machines.finish(alone)
    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: another process of this run does not answer (")
    (alone,) = machines.start(LONG, ranks=[rank])
    time.sleep(8)
    for _ in range(2):
        os.kill(alone, signal.SIGINT)
        time.sleep(1.2)
    assert machines.finish(alone, 5) == (130, ["stopped by Ctrl-C before the run has begun"])


@pytest.mark.slow
def test_a_signal_to_both_ends_both(machines):
    for _ in range(5):
        pids = machines.start(LONG)
        machines.wait_for(LAST)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        assert [machines.finish(pid, 40) for pid in pids] == [(143, [f"stopped by SIGTERM{GO_ON}"])] * 2
        shutil.rmtree(machines.folders[0] / "logs")


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [True, False])
def test_a_frozen_child_of_lightnings_launcher_ends_too(signalled, machines):
    folder = machines.folders[0]
    (folder / "cli.py").symlink_to(ROOT / "cli.py")  # what the launcher starts
    limit = ["--trainer.strategy=DDPStrategy", "--trainer.strategy.timeout=0:00:25"]  # with the child's imports
    words = [*LONG, "--trainer.num_nodes=1", "--trainer.devices=2", *([] if signalled else limit)]
    (first,) = machines.start(words, ranks=[0])
    machines.wait_for(LAST)
    (child,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    os.kill(int(child), signal.SIGSTOP)
    time.sleep(1.5)
    if signalled:
        os.kill(first, signal.SIGTERM)
    status, (line,) = machines.finish(first, 40)
    assert status == (143 if signalled else 1)
    assert line in ([f"stopped by SIGTERM{GO_ON}"] if signalled else NO_ANSWER)
    state = Path(f"/proc/{child}/status")
    for _ in range(50):  # its memory takes a moment
        if not state.is_file() or "State:\tZ" in state.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(state.read_text())
