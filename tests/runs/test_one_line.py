"""How a command ends."""

import contextlib
import os

import pytest

from lightning_tasks.runs.errors import one_line


@pytest.mark.parametrize("flush", [False, True])
def test_output_whose_reader_has_ended(flush, capsys):
    """As `python cli.py compare a b | head` leaves it: no line of an error, and the status of a broken pipe."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as pipe, contextlib.redirect_stdout(pipe), pytest.raises(SystemExit) as stop:
        one_line(lambda: print("a line", flush=flush))
    assert stop.value.code == 141
    assert capsys.readouterr() == ("", "")


def test_another_pipe_that_breaks_is_an_error(capsys):
    """Such as that of a worker process."""

    def command():
        print("a line")
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(SystemExit) as stop:
        one_line(command)
    assert stop.value.code == "error: [Errno 32] Broken pipe"
    assert capsys.readouterr().out == "a line\n"
