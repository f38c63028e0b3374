"""The documentation site: it builds without a warning and has the pages, the notebook and every public name."""

import importlib
import inspect
import os
import re
import subprocess
import sys

import pytest
from helpers.commands import ROOT

import lightning_tasks

pytestmark = pytest.mark.slow

REPOSITORY = "https://github.com/someone/lightning-tasks"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for package in ("sphinx", "furo", "myst_nb"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "sphinx", "-W", "--keep-going", "-d", folder / "doctrees", ROOT / "docs", folder / "html"]
    environment = {**os.environ, "REPOSITORY_URL": REPOSITORY}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def text(page):
    """What a page says, without its markup."""
    return re.sub(r"<[^>]+>", "", page.read_text())


def test_every_page_is_there_and_can_be_searched(site):
    index = (site / "searchindex.js").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        assert (site / f"{name}.html").exists()
        assert f'"{name}"' in index
    assert "import torch" in text(site / "notebooks/distil.html")


def test_every_public_name_is_in_the_reference(site):
    entries = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    families = ("by_hand", "classification", "multi_task", "sketch", "distillation", "data_free")
    rooms = [f"lightning_tasks.{room}" for room in (*families, "networks", "losses", "callbacks", "export", "drawings")]
    for room in (*rooms, "datamodules"):
        module = importlib.import_module(room)
        objects = {name: getattr(module, name) for name in module.__all__}
        named = [name for name, it in objects.items() if inspect.isclass(it) or inspect.isroutine(it)]
        assert [name for name in named if f'id="{room}.{name}"' not in entries] == []
    listed = text(site / "api/index.html")
    assert [name for name in lightning_tasks.__all__ if not re.search(rf"\b{name}\b", listed)] == []


def test_an_entry_describes_the_arguments(site):
    entry = text(site / "api/data_free.html").partition("class DFADTask")[2]
    arguments = entry.partition("Parameters:")[2].partition("Raises:")[0]
    for name in ("data_spec", "student_training", "memory_bank", "gradient_clip_norm"):
        assert name in arguments


def test_links_of_pages_lead_to_files_of_the_repository(site):
    for page, file in (("index", "configs/dfad_external.yaml"), ("data_free", "configs/dfad_digits.yaml")):
        assert f'href="{REPOSITORY}/blob/main/{file}#"' in (site / f"{page}.html").read_text()


def test_links_and_pictures_of_pages_are_there(site):
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#?]+)[^"]*"', page.read_text()):
            if not re.match(r"[a-z]+:", link):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
