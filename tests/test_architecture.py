"""Who may know whom: no family another, no shared room a family, nothing a caller."""

import ast
from pathlib import Path

import pytest
from helpers.commands import ROOT

PACKAGE = ROOT / "lightning_tasks"
FAMILIES = ("by_hand", "classification", "multi_task", "sketch", "distillation", "data_free")
ABOVE = ("cli", "sweeps", "export", "live", "compare")
MAY_KNOW = {("data_free", "distillation"), ("multi_task", "classification")}  # whose tasks theirs extend


def imports(file):
    """The rooms of this package, and the packages of this project, that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name == "lightning_tasks":
                yield from (each.name for each in node.names)
            elif name.startswith("lightning_tasks."):
                yield name.split(".")[1]
            elif name.partition(".")[0] in ("datamodules", "tools", "tests"):
                yield name.partition(".")[0]


FILES = [file for folder in (PACKAGE, ROOT / "datamodules") for file in sorted(folder.rglob("*.py"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_file_knows_only_what_it_may(file):
    known = set(imports(file))
    room = file.relative_to(ROOT).parts[1 if file.is_relative_to(PACKAGE) else 0]
    assert "tools" not in known
    if room in ABOVE or file == PACKAGE / "__init__.py":
        return
    assert not known & set(ABOVE), "knows a command"
    if not file.is_relative_to(PACKAGE):
        assert known <= {"datamodules", "runs", "drawings"}, "a datamodule knows no task"
        return
    assert "datamodules" not in known, "a task knows no datamodule"
    others = {family for family in FAMILIES if family in known and family != room}
    assert others <= {theirs for ours, theirs in MAY_KNOW if ours == room}
    if room == "runs":
        assert known <= {"runs"}
    if room == "drawings":
        assert known <= {"drawings", "runs"}


def test_every_file_has_one_reason_to_change():
    """The limit is 350 lines, and 150 for a file of the command line."""
    files = (*FILES, *sorted((ROOT / "tools").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py")))
    sizes = {file: len(file.read_text().splitlines()) for file in files}
    assert not {str(file): size for file, size in sizes.items() if size > 350}
    assert not {str(file): size for file, size in sizes.items() if size > 150 and file.parent == PACKAGE / "cli"}


def test_packages_are_all_installed():
    """Those of pyproject.toml are the folders that are there, and two names at the top."""
    import tomllib

    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {Path(file.relative_to(ROOT)).parent for file in FILES}
    assert {".".join(folder.parts) for folder in folders} | {"lightning_tasks.configs"} == set(told)
    assert {name.partition(".")[0] for name in told} == {"lightning_tasks", "datamodules"}


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("*.py")), ids=lambda file: file.stem)
def test_no_test_imports_another(file):
    """What two tests use lies in tests/helpers."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
        assert not [name for name in names if name.partition(".")[0].startswith(("test_", "conftest"))]
