import copy
import os
import shutil
import sys
import urllib.request
from pathlib import Path

import pytest
import torch
from helpers.campaign_counts import pytest_addoption, pytest_terminal_summary  # noqa: F401  # hooks of pytest
from helpers.cards import CONFIG
from helpers.commands import ROOT, SWEEP, TINY_BY_HAND, TINY_DATA, TINY_TEACHER, TINY_TRAINER, run_cli, superclasses
from hypothesis import settings

os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
sys.path.insert(0, str(ROOT))
settings.register_profile("repeatable", derandomize=True, deadline=None)  # the same examples each time, at any speed
settings.load_profile("repeatable")
torch.set_num_threads(1)  # the nets of these tests are too small to share out


@pytest.fixture(autouse=True)
def clean_state(monkeypatch, tmp_path):
    """Each test starts in its own folder, with a bare command line and without traces of another's seed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    for name in [name for name in os.environ if name.startswith("PL_")]:
        monkeypatch.delenv(name)
    urllib.request.install_opener(None)  # else the first one, with the proxies of its time, serves all tests
    state = torch.get_rng_state()
    kernels = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    yield
    torch.set_rng_state(state)
    torch.backends.cudnn.benchmark = kernels[0]
    torch.set_float32_matmul_precision(kernels[1])
    torch.use_deterministic_algorithms(False)
    for name in [name for name in os.environ if name.startswith("PL_")]:
        os.environ.pop(name)


@pytest.fixture(autouse=True)
def no_graph(request, monkeypatch):
    """TensorBoard's graph, of which only its own tests know, takes longer than a short run."""
    if request.module.__name__ not in ("test_tensorboard", "test_graph"):
        monkeypatch.setattr("lightning_tasks.callbacks.NetworkGraph.setup", lambda *_, **__: None)


@pytest.fixture(scope="session")
def real_data():
    """Root of the real data sets, where someone has unpacked them."""
    root = ROOT / "data"
    if not (root / "cifar-100-python").is_dir() or not (root / "MNIST").is_dir():
        pytest.skip("no real data in data/")
    return root


@pytest.fixture
def sweep_file(capsys):
    """A sweep of eight short runs, in the current folder."""
    import yaml

    from lightning_tasks.cli.main import main

    words = [*TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=1"]
    with pytest.raises(SystemExit):
        main(["fit", *words, "--print_config"])
    Path("tiny.yaml").write_text(capsys.readouterr().out)
    Path("table.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    return Path("table.yaml")


@pytest.fixture(scope="session", autouse=True)
def remove_files(request, tmp_path_factory):
    """Remove the gigabytes of checkpoints of passing tests; at the end, as a module of one test may serve another."""
    yield
    if not request.session.testsfailed:
        shutil.rmtree(tmp_path_factory.getbasetemp(), ignore_errors=True)


@pytest.fixture(scope="session")
def teacher_ckpt(tmp_path_factory):
    """Best checkpoint of a tiny teacher, trained once for all tests."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pytest"])
        run_cli("fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=8")
    return folder / "logs/teacher/version_0/checkpoints/best.ckpt"


@pytest.fixture
def mnist_root(tmp_path, monkeypatch):
    """A small MNIST in the official file format: 20 training and 10 test images of each class."""
    from hashlib import md5

    import numpy as np

    from datamodules import MNISTDataModule

    raw = tmp_path / "root/MNIST/raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 100)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        header = np.array([0x803, count, 28, 28], dtype=">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([0x801, count], dtype=">i4").tobytes()
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    monkeypatch.setattr(
        MNISTDataModule, "official", {file.name: md5(file.read_bytes()).hexdigest() for file in raw.iterdir()}
    )
    return tmp_path / "root"


@pytest.fixture
def cifar_root(tmp_path, monkeypatch):
    """Small sets in the official formats of CIFAR-10 and CIFAR-100, beside `mnist_root`: 2 test images of each class.

    Pixels are 90 * channel + 2 * row + column % 2, so that channels, rows and columns cannot be taken for each other;
    the last two of red make each image another.
    The superclass of class n is the (7 n mod 20)-th of the real ones.
    """
    import pickle
    from hashlib import md5

    import numpy as np

    from datamodules import CIFAR10DataModule, CIFAR100DataModule

    channel, row, column = np.mgrid[:3, :32, :32]
    image = (90 * channel + 2 * row + column % 2).astype(np.uint8).reshape(-1)
    for module, kind in ((CIFAR10DataModule, ""), (CIFAR100DataModule, "fine_")):
        dataset, classes = module.dataset, module.num_classes
        base = tmp_path / "root" / dataset.base_folder
        base.mkdir(parents=True)
        for name, count in (("train", 8 if classes == 10 else 4), ("test", 2)):
            labels = list(range(classes)) * count
            images = np.tile(image, (len(labels), 1))
            numbers = np.arange(len(labels), dtype=">u2") + (30_000 if name == "test" else 0)
            images[:, 1022:1024] = numbers.view(np.uint8).reshape(-1, 2)
            content = {"data": images, f"{kind}labels": labels}
            if kind:
                content["coarse_labels"] = [7 * label % 20 for label in labels]
            (base / name).write_bytes(pickle.dumps(content))
            sums = [[name, md5((base / name).read_bytes()).hexdigest()]]
            monkeypatch.setattr(dataset, f"{name}_list", sums)
        meta = base / dataset.meta["filename"]
        names = {f"{kind}label_names": [f"class {index}" for index in range(classes)]}
        meta.write_bytes(pickle.dumps(names | {"coarse_label_names": superclasses()}))
        monkeypatch.setattr(dataset, "meta", dataset.meta | {"md5": md5(meta.read_bytes()).hexdigest()})
    return tmp_path / "root"


@pytest.fixture(scope="session")
def children():
    """Forked children that run commands; for tests of the campaign."""
    from helpers.children import Children

    with Children() as running:
        yield running


@pytest.fixture(scope="session")
def systems(children, teacher_ckpt, tmp_path_factory):
    """Short runs of every kind; for tests of the campaign."""
    from helpers.systems import Systems

    return Systems(children, teacher_ckpt, tmp_path_factory.mktemp("systems"))


@pytest.fixture(scope="session")
def system_data(teacher_ckpt, tmp_path_factory):
    """Data and teacher of the campaign's systems, made once."""
    from helpers.systems import Systems

    return Systems(None, teacher_ckpt, tmp_path_factory.mktemp("systems"))


@pytest.fixture
def system_folder(system_data, tmp_path, monkeypatch):
    """The current folder, with data and teacher of the campaign's systems."""
    folder = system_data.lay_out(tmp_path / "systems")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def configuration():
    """What a config comes to, read once."""
    from lightning_tasks.cli.parser import task_parser
    from lightning_tasks.runs.identity import read_command

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return read_command(task_parser(), ["fit", f"--config={CONFIG}"])


@pytest.fixture
def card(configuration):
    """Make a card: test 0.80, best 0.90, last 0.70, mean 0.60, all plus 0.01 times the seed."""

    from lightning_tasks.runs.identity import config_hash

    def make(seed, **more):
        values = {"test/acc": 0.8, "val/acc": 0.9, "val/acc_last": 0.7, "val/acc_mean": 0.6, "test/loss": 0.5}
        return {
            "experiment": "mnist_mlp",
            "seed": seed,
            "metrics": {name: value + 0.01 * seed for name, value in values.items()},
            "headline": ["test/acc"],
            "monitor": "val/acc",
            "seconds": 10.0 * seed**2,
            "parameters": {"student": 1000, "teacher": 5000},
            "student_share": 0.2,
            "device": "1 x CPU, 2 threads",
            "precision": "32-true",
            "commit": 40 * "a",
            "config_hash": config_hash(configuration),
            "date": "2026-01-01",
            "command": f"python cli.py fit --config {CONFIG} --seed_everything {seed}",
            "configuration": copy.deepcopy(configuration),
            **more,
        }

    return make
