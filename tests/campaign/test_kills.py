"""Killed and resumed runs end as uninterrupted ones do: weights, optimizer, schedules, card.

The runs are data, `systems.yaml`. Each is killed at random moments of its time, with half of a checkpoint written, and
between a file and its name.
"""

import json
import random
import signal
import time

import pytest
from helpers.systems import SYSTEMS, assert_same_run, differences, finished_run, words, write_sweep

KILLS = 9  # of each system: six at random moments, three at a place
FAST = {("by hand", 0), ("by hand", 6)}  # others are slow


def cases():
    for name in SYSTEMS:
        for number in range(KILLS):
            marks = () if (name, number) in FAST else pytest.mark.slow
            yield pytest.param(name, number, id=f"{name}-{number}", marks=marks)


def moment(name, number, seconds):
    """When the n-th kill of a system comes: after so long, or at the n-th call of a place."""
    chance = random.Random(f"{name} {number}")
    if number < KILLS - 3:
        return {"timeout": seconds * chance.random()}
    place = ("last.ckpt", "os.replace", "os.replace")[number - KILLS]
    return {"dies_at": (place, chance.randint(2, 4 if place == "last.ckpt" else 5))}


@pytest.mark.parametrize(("name", "number"), list(cases()))
def test_a_killed_run_goes_on(name, number, children, systems, tmp_path):
    whole, seconds = systems.uninterrupted(name)
    for attempt in range(1, 10):
        folder = systems.lay_out(tmp_path / str(attempt))
        done = children.run(words(name), folder, **moment(name, number, seconds / attempt))
        if done.status:  # else it was faster than the one that was not killed
            break
    assert done.status in (-signal.SIGKILL, -signal.SIGXFSZ), done
    again = children.run([*words(name), "--ckpt_path=last"], folder)
    assert again.status == 0, again.err
    assert_same_run(finished_run(folder), whole)
    assert not list(finished_run(folder).rglob("*.partial"))


@pytest.fixture(scope="module")
def whole_sweep(children, tmp_path_factory):
    """Cards of a sweep that was not killed, and its seconds."""
    folder = tmp_path_factory.mktemp("sweep")
    write_sweep(folder)
    start = time.monotonic()
    done = children.run(["table.yaml"], folder, program="sweep", timeout=300)
    assert done.status == 0, done
    return cards(folder), time.monotonic() - start


def cards(folder):
    found = sorted((folder / "logs/table").glob("*/version_*/run.json"))
    return {path.parents[1].name: json.loads(path.read_text()) for path in found}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_a_killed_sweep_goes_on(number, children, whole_sweep, tmp_path):
    """With the run that it has started, or alone: then that run ends too, and the next sweep resumes it."""
    whole, seconds = whole_sweep
    write_sweep(tmp_path)
    moment = seconds * (number + random.Random(number).random()) / 8
    done = children.run(["table.yaml"], tmp_path, program="sweep", timeout=moment, alone=number % 2 == 1)
    assert done.status == -signal.SIGKILL, done
    again = children.run(["table.yaml"], tmp_path, program="sweep", timeout=300)
    assert again.status == 0, again
    assert differences(cards(tmp_path), whole) == []
