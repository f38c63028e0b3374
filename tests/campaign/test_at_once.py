"""Concurrent processes: each finishes, or exits with one line naming the other."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.children import Children
from helpers.systems import assert_same_run, finished_run, words, write_sweep

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other():
    with Children() as running:
        yield running


def at_once(children, words, folder, later=0.0, **options):
    """Run one command in two processes, the second so many seconds later, and give what came of each."""
    first, second = children
    with ThreadPoolExecutor() as pool:
        started = pool.submit(first.run, words, folder, **options)
        time.sleep(later)
        return second.run(words, folder, **options), started.result()


@pytest.mark.parametrize("name", ["by hand", "classification", "data-free with all parts", "sketches"])
@pytest.mark.parametrize("number", range(3))
def test_two_resumes_of_one_run(name, number, children, other, systems, tmp_path):
    """One trains, and the other leaves it alone."""
    whole, seconds = systems.uninterrupted(name)
    folder = systems.lay_out(tmp_path / "run")
    children.run(words(name), folder, dies_at=("last.ckpt", 2))
    later = number / 3 * seconds * random.Random(name).random()
    done = at_once((children, other), [*words(name), "--ckpt_path=last"], folder, later)
    assert sorted(each.status for each in done) in ([0, 0], [0, 1])
    for each in done:
        if each.status:
            assert each.err.splitlines()[-1] == "error: logs/x/version_0: another process trains this run"
    assert any("another process" in each.err or "its run card stands" in each.out for each in done)
    assert_same_run(finished_run(folder), whole)


def test_two_runs_of_one_experiment(children, other, systems, tmp_path):
    whole, _ = systems.uninterrupted("by hand")
    folder = systems.lay_out(tmp_path / "run")
    done = at_once((children, other), words("by hand"), folder)
    assert [each.status for each in done] == [0, 0], done
    runs = sorted((folder / "logs/x").iterdir())
    assert [run.name for run in runs] == ["version_0", "version_1"]
    for run in runs:
        assert_same_run(run, whole)


@pytest.mark.parametrize("name", ["image folder", "tiny imagenet", "sketches"])
def test_two_conversions_of_one_set(name, children, other, systems, tmp_path):
    """Both are the first to read a folder."""
    whole, _ = systems.uninterrupted(name)
    folder = systems.lay_out(tmp_path / "run")
    done = at_once((children, other), words(name), folder)
    assert [each.status for each in done] == [0, 0], done
    for run in (folder / "logs/x").iterdir():
        assert_same_run(run, whole)
    assert not list(folder.rglob("*.partial*"))


def test_two_sweeps_of_one_file(children, other, tmp_path):
    """The second says so, and the first is done with all."""
    write_sweep(tmp_path)
    done = at_once((children, other), ["table.yaml"], tmp_path, 1.0, program="sweep", timeout=200)
    assert sorted(each.status for each in done) == [0, 1], done
    (refused,) = (each for each in done if each.status)
    assert refused.err.splitlines()[-1] == "error: another process is running this sweep in logs/table"
    assert len(list(tmp_path.glob("logs/table/*/version_0/run.json"))) == 2
