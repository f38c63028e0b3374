"""A sweep on a Dask cluster of two workers: the table of one machine, whatever becomes of a worker."""

import contextlib
import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from helpers.commands import ROOT

from lightning_tasks.sweeps import command

LocalCluster = pytest.importorskip("distributed").LocalCluster
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(*words, **options):
    return subprocess.Popen([sys.executable, *words], env=ENVIRONMENT, text=True, **options)


def sweep(*words, **options):
    return start(
        ROOT / "cli.py", "sweep", "table.yaml", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def wait_for(condition, what):
    for _ in range(3000):
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {what}")


def children(process):
    """Process ids of what a process has started."""
    found = (path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/children"))
    return [int(each) for text in found for each in text.split()]


@pytest.fixture
def cluster(tmp_path):
    """A scheduler's address, its process, and those of two workers in another folder, each for one run at a time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = {"cwd": elsewhere, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    words = ["--host", "127.0.0.1", "--no-dashboard"]
    processes = [start("-m", "distributed.cli.dask_scheduler", *words, "--port", str(port), **options)]
    try:
        for _ in range(2):
            worker = ["-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1"]
            processes.append(start(*worker, *words, **options))
        yield address, processes[0], processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def change(sweep_file, epochs=1, **axes):
    data = yaml.safe_load(sweep_file.read_text())
    sweep_file.write_text(yaml.safe_dump(data | {"axes": data["axes"] | axes, "reported": []}, sort_keys=False))
    Path("tiny.yaml").write_text(Path("tiny.yaml").read_text().replace("max_epochs: 1", f"max_epochs: {epochs}"))


def table(logs):
    rows = csv.DictReader(Path(logs, "table/table.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.slow
def test_a_worker_of_this_process_fills_the_table(sweep_file, monkeypatch, capsys):
    change(sweep_file, rule={"slow": {"model.rule.learning_rate": 0.01}}, L2={"off": {}})
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert command.main(["table.yaml", "--scheduler", address, "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{address}: 1 workers, 1 runs at a time\n")
    assert "[1/1] slow, off, seed 1: test/acc" in out
    (row,) = table("logs")
    assert (row["rule"], row["L2"], row["seeds"]) == ("slow", "off", "1")


@pytest.mark.slow
def test_the_table_is_that_of_one_machine(sweep_file, cluster):
    """With a cell that fails, whose line is the same too."""
    rules = {"slow": {"model.rule.learning_rate": 0.01}, "broken": {"model.rule.learning_rate": -1}}
    change(sweep_file, rule=rules, L2={"off": {}})
    said = {}
    ways = {"one": ["--jobs", "1"], "many": ["--scheduler", cluster[0]]}
    for logs, process in {logs: sweep("--logs", logs, "--seeds", "1", *words) for logs, words in ways.items()}.items():
        out, err = process.communicate(timeout=300)
        assert process.returncode == 1, err
        assert err == "error: 1 runs failed\n"
        lines = [line.replace(f"{logs}/", "") for line in out.splitlines() if line.startswith("[")]
        said[logs] = [line if "failed" in line else line.rpartition(", ")[0] for line in lines]
    assert said["one"] == said["many"]
    assert sum("failed: error: learning_rate must be above 0, got -1.0" in line for line in said["many"]) == 1
    assert table("one") == table("many")


@pytest.mark.slow
def test_the_run_of_a_dead_worker_goes_on_elsewhere(sweep_file, cluster):
    """From its last checkpoint; the process of the run does not outlive its worker."""
    address, _, workers = cluster
    change(sweep_file, epochs=150, L2={"off": {}})
    process = sweep("--scheduler", address, "--seeds", "1")
    last = wait_for(lambda: list(Path("logs").rglob("last.ckpt")), "checkpoint")[0]
    run = last.parents[1]
    victim = next(each for each in workers if any(str(run.parent.name) in words(child) for child in children(each)))
    orphans = children(victim)
    victim.kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert not any(map(alive, orphans))
    assert len([line for line in out.splitlines() if line.startswith("[") and "test/acc" in line]) == 2
    assert [path.name for path in run.parent.glob("version_*")] == ["version_0"]
    assert f"ckpt_path: {last}" in (run.parent / "seed_1.log").read_text()
    alone = sweep("--logs", "one", "--seeds", "1")
    alone.communicate(timeout=300)
    assert table("one") == table("logs")


def words(pid):
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def alive(pid):
    return bool(words(pid))


@pytest.mark.slow
def test_a_signal_ends_the_runs_of_all_workers(sweep_file, cluster):
    address, _, workers = cluster
    change(sweep_file, epochs=100000)
    process = sweep("--scheduler", address)
    wait_for(lambda: len(list(Path("logs").rglob("last.ckpt"))) == 2, "two checkpoints")
    runs = [child for worker in workers for child in children(worker)]
    assert len(runs) == 2
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "stopped; the same command resumes from here\n"
    wait_for(lambda: not any(map(alive, runs)), "end of the runs")
    time.sleep(1)
    assert not [child for worker in workers for child in children(worker)]  # nor have others begun


@pytest.mark.slow
def test_a_dead_scheduler_is_one_line(sweep_file, cluster):
    """And the runs of the workers end."""
    address, scheduler, workers = cluster
    change(sweep_file, epochs=100000, L2={"off": {}})
    process = sweep("--scheduler", address, "--seeds", "1")
    wait_for(lambda: list(Path("logs").rglob("last.ckpt")), "checkpoint")
    runs = [child for worker in workers for child in children(worker)]
    scheduler.kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err == f"error: the scheduler at {address} has gone; the same command resumes from here\n"
    wait_for(lambda: not any(map(alive, runs)), "end of the runs")


def test_no_scheduler_is_one_line(sweep_file, children, tmp_path):
    done = children.run(["table.yaml", "--scheduler", "tcp://127.0.0.1:9"], tmp_path, "sweep")
    assert done.status == 1
    assert done.err.startswith("error: --scheduler: no Dask scheduler at tcp://127.0.0.1:9 (")
    assert done.err.count("\n") == 1
