"""What a command says besides its results."""

import warnings
from pathlib import Path

import datamodules
import lightning_tasks
from lightning_tasks.cli.quiet import silence_harmless_messages


def test_a_warning_of_this_project_is_one_line_and_others_say_where(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with warnings.catch_warnings():
        silence_harmless_messages()
        for package in (lightning_tasks, datamodules):
            place = str(Path(package.__file__).parent / "a" / "b.py")
            assert warnings.formatwarning(UserWarning("data.folder: odd"), UserWarning, place, 3) == (
                "warning: data.folder: odd\n"
            )
        said = warnings.formatwarning(UserWarning("odd"), UserWarning, "/home/me/lightning_tasks_fork/a.py", 3)
        assert said.startswith("/home/me/lightning_tasks_fork/a.py:3: ")
