import contextlib
import functools
import io
import json
import os
import sys
import urllib.request
from pathlib import Path
from unittest import mock

import pytest
import torch
from campaign_counts import pytest_addoption, pytest_terminal_summary  # noqa: F401  # hooks of pytest
from hypothesis import settings

os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
ROOT = Path(__file__).parent.parent
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
    if request.module.__name__ != "test_tensorboard":
        monkeypatch.setattr("lightning_tasks.callbacks.NetworkGraph.setup", lambda *_, **__: None)


@pytest.fixture(scope="session")
def real_data():
    """Root of the real data sets, where someone has unpacked them."""
    root = ROOT / "data"
    if not (root / "cifar-100-python").is_dir() or not (root / "MNIST").is_dir():
        pytest.skip("no real data in data/")
    return root


TINY_DATA = [
    "--data=DigitsDataModule",
    "--data.train_per_class=10",
    "--data.test_per_class=10",
    "--data.eval_batch_size=50",
]
TINY_TRAINER = [
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.log_every_n_steps=2",
]
TINY_TEACHER = [
    "--model=ClassificationTask",
    "--model.network=ResNet",
    "--model.network.depth=10",
    "--model.network.width=4",
    "--data.batch_size=25",
    "--experiment=teacher",
]
TINY_DFAD = [
    "--model=DFADTask",
    "--model.teacher=ResNet",
    "--model.teacher.depth=10",
    "--model.teacher.width=4",
    "--model.student=ResNet",
    "--model.student.depth=10",
    "--model.student.width=2",
    "--model.generator=ImageGenerator",
    "--model.generator.latent_dim=8",
    "--model.generator.width=4",
    "--model.batch_size=8",
    "--data.steps_per_epoch=2",
    "--experiment=dfad",
]


# After TINY_DATA.
TINY_BY_HAND = [
    "--model=ByHandTask",
    "--model.layers=[Flatten,"
    "{class_path: Linear, init_args: {in_features: 64, out_features: 16}}, ReLU,"
    "{class_path: Linear, init_args: {in_features: 16, out_features: 10}}]",
    "--model.rule=Momentum",
    "--model.rule.learning_rate=0.05",
    "--data.image_size=8",
    "--data.batch_size=25",
]


# A sweep of eight short runs.
SWEEP = {
    "config": "tiny.yaml",
    "seeds": [1, 2],
    "axes": {
        "rule": {
            "slow": {"model.rule.learning_rate": 0.01},
            "fast": {"model.rule.learning_rate": 0.1},
        },
        "L2": {"off": {"model.l2": 0.0}, "on": {"model.l2": 0.001}},
    },
    "reported": [{"rule": "slow", "values": {"test/acc": 0.5}}],
}


@pytest.fixture
def sweep_file(capsys):
    """A sweep of eight short runs, in the current folder."""
    import yaml

    from cli import main

    words = [*TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=1"]
    with pytest.raises(SystemExit):
        main(["fit", *words, "--print_config"])
    Path("tiny.yaml").write_text(capsys.readouterr().out)
    Path("table.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    return Path("table.yaml")


def few_fast(few, values, name=str):
    """Parameters of a test, all slow but the few that are named."""
    return [pytest.param(each, marks=() if name(each) in few else pytest.mark.slow, id=name(each)) for each in values]


def short_cli(command):
    """Give a command line without the parsers of other subcommands, which would take a while to make."""
    from cli import TaskCLI

    class ShortCLI(TaskCLI):
        @staticmethod
        def subcommands():
            every = TaskCLI.subcommands()
            return {name: every[name] for name in every if name in ("fit", command) or command not in every}

    return ShortCLI


def run_cli(*words):
    """Run the command line in process."""
    from cli import main

    return main(list(words), cli_class=short_cli(words[0]))


def make_trainer(*callbacks, **options):
    """A trainer that leaves no file and validates only if asked to."""
    import pytorch_lightning as pl

    return pl.Trainer(
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **{"accelerator": "cpu", "max_epochs": 1, "limit_val_batches": 0, **options},
    )


def image_folder(folder, parts, classes, size=(32, 32)):
    """PNG files in `<part>/<class>/`, so many of each class in each part; each of one colour, all colours differ."""
    from PIL import Image

    number = 0
    for part, count in parts.items():
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                number += 1
                Image.new("RGB", size, (number % 256, 2 * number % 256, 255 - number)).save(
                    folder / part / name / f"{index}.png"
                )
    return folder


def files(folder):
    """What is in a folder: path and content of each file, but for locks and what is remembered of the data."""
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found if path.suffix != ".lock" and path.name != ".verified.json"}


def refusal(folder, *words, status=1, **env):
    """Run a command that must fail, as the shell does but in process; returns its one line."""
    import cli

    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, env),
        mock.patch.object(sys, "argv", ["cli.py", *map(str, words)]),
        mock.patch.object(cli, "main", functools.partial(cli.main, cli_class=short_cli(words[0]))),
        contextlib.chdir(folder),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as stop,
    ):
        cli.command()
    code = stop.value.code
    if isinstance(code, str):  # what the interpreter does with it
        said.write(f"{code}\n")
        code = 1
    assert code == status, said.getvalue()
    lines = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said.getvalue()
    assert "Traceback" not in said.getvalue()
    assert said.getvalue().rstrip().splitlines()[-1] == lines[0]
    return lines[0]


def refused(folder, *words, **options):
    """Run a command that must fail and change nothing; returns its one line."""
    before = files(folder)
    line = refusal(folder, *words, **options)
    assert files(folder) == before
    return line


def run_card(experiment="dfad", version=0):
    """Read the run card that a test has made in the current folder."""
    return json.loads(Path(f"logs/{experiment}/version_{version}/run.json").read_text())


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


def superclasses():
    """Names of the superclasses of CIFAR-100, in their order, from the project's own groups of them."""
    import yaml

    groups = yaml.safe_load((ROOT / "configs/groups/cifar100.yaml").read_text())
    return sorted(name for group in groups for name in group["superclasses"])


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
    from children import Children

    with Children() as running:
        yield running


@pytest.fixture(scope="session")
def systems(children, teacher_ckpt, tmp_path_factory):
    """Short runs of every kind; for tests of the campaign."""
    from systems import Systems

    return Systems(children, teacher_ckpt, tmp_path_factory.mktemp("systems"))


@pytest.fixture(scope="session")
def system_data(teacher_ckpt, tmp_path_factory):
    """Data and teacher of the campaign's systems, made once."""
    from systems import Systems

    return Systems(None, teacher_ckpt, tmp_path_factory.mktemp("systems"))


@pytest.fixture
def system_folder(system_data, tmp_path, monkeypatch):
    """The current folder, with data and teacher of the campaign's systems."""
    folder = system_data.lay_out(tmp_path / "systems")
    monkeypatch.chdir(folder)
    return folder
