"""Two torchrun nodes or Lightning processes train together; if one dies, all exit."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import ROOT, TINY_BY_HAND, TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, run_card, run_cli

pytestmark = [pytest.mark.ddp, pytest.mark.slow]

# The command line, of which each rank writes its weights at the end; the rank that DIES does so in the second epoch.
SCRIPT = """
import json, os, signal, sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from lightning_tasks import cli
from lightning_tasks.callbacks import RunCard

finish = RunCard.on_fit_end

def spy(self, trainer, task):
    finish(self, trainer, task)
    weights = {{name: p.double().sum().item() for name, p in task.named_parameters()}}
    with open(f"{{trainer.global_rank}}.json", "w") as file:
        json.dump(weights, file)

def die(self, trainer, task, batch, index):
    if (str(trainer.global_rank), trainer.current_epoch, index) == (os.environ.get("DIES"), 1, 1):
        os.kill(os.getpid(), signal.SIGKILL)

RunCard.on_fit_end = spy
RunCard.on_train_batch_start = die
cli.command()
"""
MACHINES = ["--trainer.num_nodes=2", "--trainer.devices=1"]
DEVICES = ["--trainer.devices=2"]
LINE = "error: another process of this run has ended ("
TASKS = {
    "classifier": [*TINY_TEACHER, *TINY_DATA, "--trainer.strategy=ddp", "--experiment=run"],
    "by hand": [*TINY_DATA, *TINY_BY_HAND, "--trainer.strategy=ddp", "--experiment=run"],
    "distillation": [*TINY_DFAD, *TINY_DATA, "--trainer.strategy=ddp", "--experiment=run"],
}
COMMON = [*TINY_TRAINER, "--trainer.max_epochs=3", "--plots=false"]
LAST = Path("logs/run/version_0/checkpoints/last.ckpt")


def start(*words, **env):
    Path("run.py").write_text(SCRIPT.format(root=str(ROOT)))
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes):
    """Statuses and errors of processes, which must end in time."""
    try:
        errors = [process.communicate(timeout=180)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], errors


def on_machines(*words, **env):
    """Run on two machines; gives the statuses, and the errors of each one's process without torchrun's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--master-addr=127.0.0.1", f"--master-port={port}", "--nnodes=2", "--nproc-per-node=1"]
    torchrun = ["-m", "torch.distributed.run", *place, "--redirects=3"]
    words = ["run.py", "fit", *words, *MACHINES]
    logs = [Path(f"machine{rank}-{len(list(Path().glob('machine*')))}") for rank in (0, 1)]
    machines = [start(*torchrun, f"--node-rank={rank}", f"--log-dir={logs[rank]}", *words, **env) for rank in (0, 1)]
    statuses, _ = finish(machines)
    return statuses, ["".join(path.read_text() for path in log.rglob("stderr.log")) for log in logs]


def on_devices(*words, **env):
    """Run by Lightning's launcher; gives the status, and the errors of both processes."""
    (status,), (errors,) = finish([start("run.py", "fit", *words, *DEVICES, **env)])
    return [status], [errors]


@pytest.fixture(scope="module")
def words(teacher_ckpt):
    own = {"distillation": [f"--model.teacher_ckpt={teacher_ckpt}"]}
    return {name: [*each, *COMMON, *own.get(name, [])] for name, each in TASKS.items()}


@pytest.mark.parametrize("task", TASKS)
def test_two_machines_train_one_network(task, words):
    statuses, errors = on_machines(*words[task])
    assert statuses == [0, 0], errors
    ranks = [json.loads(Path(f"{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    assert list(Path("logs").rglob("run.json")) == [Path("logs/run/version_0/run.json")]
    card = run_card("run")
    assert card["device"].startswith("2 x CPU")
    best = LAST.with_name("best.ckpt")
    alone = run_cli("test", *words[task], "--trainer.strategy=auto", f"--ckpt_path={best}").trainer.callback_metrics
    assert card["metrics"]["test/acc"] == alone["test/acc"].item()


@pytest.fixture(scope="module", params=[on_machines, on_devices])
def whole(request, words, tmp_path_factory):
    """Two ways to run in two processes, and the state that each ends with if none dies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        statuses, errors = request.param(*words["classifier"])
        assert not any(statuses), errors
        return request.param, torch.load(LAST, weights_only=True)["state_dict"]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_that_dies_ends_the_run_which_goes_on_later(rank, whole, words):
    """The other one ends with a line; Lightning's launcher may end it by SIGKILL before."""
    run, reference = whole
    statuses, errors = run(*words["classifier"], DIES=rank)
    assert all(statuses)
    said = "".join(errors)
    assert "Traceback" not in said
    assert said.count(LINE) == 1 or (rank == "1" and statuses == [-signal.SIGKILL])
    assert [line for line in said.splitlines() if "error" in line.lower() and not line.startswith(LINE)] == []
    assert torch.load(LAST, weights_only=True)["epoch"] == 0
    statuses, errors = run(*words["classifier"], "--ckpt_path=last")
    assert not any(statuses), errors
    state = torch.load(LAST, weights_only=True)["state_dict"]
    assert all(torch.equal(state[name], value) for name, value in reference.items())
