"""A run that is killed at any moment and gone on with ends as one that was not: weights, optimiser, schedules, card.

The runs are data, `systems.yaml`. Each is killed at random moments of its time, with half of a checkpoint written, and
between a file and its name.
"""

import random
import signal

import pytest
from systems import SYSTEMS, assert_same_run, finished_run, words

KILLS = 9  # of each system: six at random moments, three at a place
FAST = {("by hand", 0), ("data-free with all parts", 1), ("sketches", 7)}  # others are slow


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
    return {"dies_at": (("torch.save", "os.replace", "os.replace")[number - KILLS], chance.randint(1, 5))}


@pytest.mark.parametrize(("name", "number"), list(cases()))
def test_a_killed_run_goes_on(name, number, children, systems, tmp_path):
    whole, seconds = systems.undisturbed(name)
    for attempt in range(1, 10):
        folder = systems.lay_out(tmp_path / str(attempt))
        done = children.run(words(name), folder, **moment(name, number, seconds / attempt))
        if done.status:  # else it was faster than the one that was not killed
            break
    assert done.status == -signal.SIGKILL, done
    again = children.run([*words(name), "--ckpt_path=last"], folder)
    assert again.status == 0, again.err
    assert_same_run(finished_run(folder), whole)
    assert not list(finished_run(folder).rglob("*.partial"))
