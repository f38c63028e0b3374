"""A Slurm job: the script with stubs of Slurm's commands, and what a run does in one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.commands import ROOT, TINY_BY_HAND, TINY_DATA, TINY_TRAINER, run_card, run_cli
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from lightning_tasks.cli.main import main
from lightning_tasks.runs.slurm import slurm_plugins

JOB = {
    "SLURM_JOB_ID": "1234",
    "SLURM_JOB_NAME": "lightning-tasks",
    "SLURM_LOCALID": "0",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "localhost",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_PROCID": "0",
}
STUBS = {"srun": 'exec "$@"', "python": f'exec {sys.executable} "$@"', "scontrol": 'echo "$@" >> requeued'}
WORDS = [*TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=150", "--plots=false", "--experiment=job"]


def submit():
    """Start the script as Slurm does, in the folder of the submission."""
    path = f"{Path('bin').resolve()}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", str(ROOT / "docs/slurm.sh"), *WORDS],
        env=os.environ | JOB | {"PATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_job_that_is_preempted_and_requeued_ends_as_one_that_is_not():
    Path("bin").mkdir()
    for name, line in STUBS.items():
        stub = Path("bin", name)
        stub.write_text(f"#!/bin/sh\n{line}\n")
        stub.chmod(0o755)
    Path("cli.py").symlink_to(ROOT / "cli.py")
    job = submit()
    last = Path("logs/job/version_0/checkpoints/last.ckpt")
    for _ in range(900):
        if last.exists() or job.poll() is not None:
            break
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGTERM)  # the processes of the job's step, and the shell
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 143, said
    assert said.splitlines()[-1].startswith("stopped by SIGTERM; the same command with --ckpt_path last")
    assert Path("requeued").read_text() == "requeue 1234\n"
    assert last.exists()
    assert not Path("logs/job/version_0/run.json").exists()

    job = submit()
    said, _ = job.communicate(timeout=300)
    assert job.returncode == 0, said
    assert f"ckpt_path: {last}" in said
    assert Path("requeued").read_text() == "requeue 1234\n"
    assert not list(Path().rglob("hpc_ckpt*"))
    run_cli("fit", *WORDS, "--trainer.default_root_dir=alone")
    ours = run_card("job")["metrics"]
    os.rename("logs", "job")
    os.rename("alone", "logs")
    assert ours == run_card("job")["metrics"]


def test_no_requeue_of_lightnings_own(monkeypatch):
    for name, value in (JOB | {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}).items():
        monkeypatch.setenv(name, value)
    environment = main([*WORDS, "--trainer.devices=2"], run=False).trainer.strategy.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    assert slurm_plugins([LightningEnvironment()]) == []  # of the config
    for name in ("TORCHELASTIC_RUN_ID", "RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "0")
    assert slurm_plugins([]) == []  # under torchrun


def test_no_environment_outside_of_a_job():
    assert slurm_plugins([]) == []
