"""Malicious files: none executes code; each is refused in one line naming it."""

import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.commands import TINY_TRAINER
from helpers.hostile import CASES, EVIL, FIT, MARK, array_of_objects, calling_python_in_a_graph, pickled, saved


@pytest.fixture
def children(children):
    """With no network, and weights of torchvision in the current folder."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return SimpleNamespace(run=partial(children.run, environment={**proxies, "TORCH_HOME": "torch_home"}))


@pytest.fixture(scope="module")
def good(teacher_ckpt):
    return torch.load(teacher_ckpt, weights_only=True)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def cases():
    """All but every tenth are slow."""
    for number, (program, words, file, kind, make) in enumerate(CASES):
        marks = () if number % 10 == 0 else pytest.mark.slow
        yield pytest.param(program, words, file, make, marks=marks, id=f"{number}-{program}-{file}-{kind}")


@pytest.mark.parametrize(("program", "words", "file", "make"), list(cases()))
def test_nothing_runs(program, words, file, make, children, good, teacher_ckpt, tmp_path):
    shutil.copytree(teacher_ckpt.parents[3], tmp_path / "logs")
    for name in ("evil.py", "hubconf.py"):
        (tmp_path / name).write_text(EVIL)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    make(tmp_path / file, good)
    before = contents(tmp_path)
    done = children.run(words, tmp_path, program)
    assert not [*tmp_path.rglob(MARK), *tmp_path.parent.glob(MARK)], done
    assert done.status in (1, 2), done
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.err
    assert any(str(place) in lines[0] for place in (Path(file), *Path(file).parents[:-1])), lines
    assert "Traceback" not in done.err + done.out
    assert "(python -X dev" not in lines[0]
    assert contents(tmp_path) == before
    if make is calling_python_in_a_graph:  # which fails by itself, once it has been called
        assert "calls torch.os.mkdir" in lines[0]


def test_there_are_as_many_as_promised():
    assert len(CASES) >= 30


@pytest.mark.parametrize("make", [pickled, saved, array_of_objects])
def test_what_is_kept_of_drawings_is_made_anew(make, children, good, tmp_path):
    """A careless reader would take it for the arrays of an earlier call."""
    from helpers.quickdraw_files import write

    folder = write(tmp_path, ["cat", "dog"])
    for word in ("cat", "dog"):
        make(folder / f".{word}.ndjson.cache.npz", good)
    words = ["--data=QuickDrawImagesDataModule", "--data.words=[cat, dog]", "--data.root=.", "--data.image_size=16"]
    done = children.run([*FIT[:5], *words, *TINY_TRAINER, "--trainer.fast_dev_run=true"], tmp_path)
    assert not (tmp_path / MARK).exists(), done
    assert done.status == 0, done
    assert "Traceback" not in done.err + done.out
    with np.load(folder / ".cat.ndjson.cache.npz") as arrays:
        assert "steps" in arrays
