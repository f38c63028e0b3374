"""What TensorBoard reads of a run."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(run):
    return EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0}).Reload()


def scalars(events, tag):
    """Points (x, y) of a curve."""
    return [(event.step, pytest.approx(event.value, abs=1e-6)) for event in events.Scalars(tag)]
