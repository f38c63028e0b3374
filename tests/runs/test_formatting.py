"""Times and hardware as tables write them."""

import pytest

from lightning_tasks.runs.formatting import duration, hardware


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0, "0 s"), (0.4, "0 s"), (89, "89 s"), (91, "2 min"), (720, "12 min"), (884, "15 min")),
        *((5300, "88 min"), (5400, "1.5 h"), (5989, "1.7 h"), (5 * 86400, "5.0 days")),
    ],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("device", "said"),
    [("1 x CPU, 1 threads", "1 CPU core"), ("1 x CPU, 12 threads", "12 CPU cores"), ("2 x NVIDIA H200",) * 2],
)
def test_hardware(device, said):
    assert hardware(device) == said
