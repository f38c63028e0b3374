"""Bad input: a one-line error, a non-zero exit status, no files left.

The cases are data, `bad_input/*.yaml`. A group has `words`, to which each of its `cases` adds some (or puts them first,
with `before`), mapped to a part of the expected line; or a `file` that has each of its `contents` in turn. `files` lie
there too, and `command` is one that has other options than `fit`. A new task adds lines, or a file of its own. All but
every fortieth line of a group are slow.
"""

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.commands import files

TABLES = sorted((Path(__file__).parent / "bad_input").glob("*.yaml"))
LONGEST = 500


def cases():
    for table in TABLES:
        for name, group in yaml.safe_load(table.read_text()).items():
            for number, (given, expected) in enumerate((group.get("cases") or group["contents"]).items(), 1):
                marks = () if number % 40 == 1 else pytest.mark.slow
                yield pytest.param(group, given, expected, marks=marks, id=f"{table.stem}-{name}-{number}")


def command(group, given):
    """The words of a case's command line."""
    if "contents" in group:
        return shlex.split(group["words"])
    words = [group["words"], given]
    return shlex.split(" ".join(reversed(words) if group.get("before") else words))


def lay_out(folder, group, given, teacher_ckpt):
    """Put the files of a case into its folder."""
    shutil.copy(teacher_ckpt, folder / "teacher.ckpt")
    for name, text in {"config.yaml": "experiment: x\n", **group.get("files", {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if "contents" in group:
        (folder / group["file"]).write_bytes(given.encode("latin-1" if group.get("latin1") else "utf-8"))


@pytest.mark.parametrize(("group", "given", "expected"), list(cases()))
def test_refused_in_one_line(group, given, expected, children, teacher_ckpt, tmp_path):
    lay_out(tmp_path, group, given, teacher_ckpt)
    before = files(tmp_path)
    done = children.run(command(group, given), tmp_path, group.get("command", "cli"))
    assert done.status in (1, 2), done
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.err
    assert expected in lines[0]
    assert done.err.rstrip().endswith(lines[0])
    assert len(lines[0]) <= LONGEST
    assert "Traceback" not in done.err + done.out
    assert "(python -X dev" not in lines[0]
    assert files(tmp_path) == before


def test_there_are_as_many_as_promised():
    assert sum(1 for _ in cases()) >= 300
