"""The package as it is installed: two names, its configs, one command, from any folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers.commands import ROOT

pytestmark = pytest.mark.slow


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"COLUMNS": "80"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory):
    """A fresh environment with the wheel, and the packages of this one that it needs."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
    python = folder / "bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "--no-deps", wheel], check=True, capture_output=True, env=ENVIRONMENT
    )
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python.parent


def test_it_has_two_names_at_the_top(wheel):
    names = {Path(name).parts[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"lightning_tasks", "datamodules"}
    configs = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("lightning_tasks/configs/")}
    assert {f"lightning_tasks/{file.relative_to(ROOT)}" for file in (ROOT / "configs").rglob("*.yaml")} <= configs


def test_the_digits_run_from_an_empty_folder(bin_folder, tmp_path):
    """Also a user's own cli.py and export/ beside them are not taken for ours."""
    (tmp_path / "cli.py").write_text("raise SystemExit('not ours')")
    (tmp_path / "export").mkdir()
    (tmp_path / "export/__init__.py").write_text("raise SystemExit('not ours')")

    def run(*words):
        command = [bin_folder / "lightning-tasks", *words]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "configs/dfad_digits.yaml" in run("configs")
    assert "usage: lightning-tasks" in run("--help")
    short = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
    said = run("fit", "--config", "configs/teacher_digits.yaml", *short)
    assert "next: lightning-tasks export --ckpt logs/teacher_digits/version_0" in said
    teacher = "--model.teacher_ckpt=logs/teacher_digits/version_0"
    words = ["fit", "--config=configs/dfad_digits.yaml", teacher, *short, "--data.steps_per_epoch=2"]
    assert "lightning-tasks compare logs/dfad_digits/version_0" in run(*words)
    assert "test/acc" in run("compare", "logs/dfad_digits", "logs/teacher_digits")
