"""Options of small runs, and commands in process."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
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
    "--plots=false",
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
TINY_KD = [
    "--model=KDTask",
    "--model.teacher=ResNet",
    "--model.teacher.depth=10",
    "--model.teacher.width=4",
    "--model.student=CNN",
    "--model.student.stages=[[4]]",
    "--model.student.hidden_sizes=[]",
    "--data.batch_size=25",
    "--experiment=kd",
]
FIT_TEACHER = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=2"]
FIT_DFAD = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]
SHOWN = ["--trainer.enable_progress_bar=true", "--trainer.enable_model_summary=true"]


def few_fast(few, values, name=str):
    """Parameters of a test, all slow but the few that are named."""
    return [pytest.param(each, marks=() if name(each) in few else pytest.mark.slow, id=name(each)) for each in values]


def run_cli(*words):
    """Run the command line in process."""
    from lightning_tasks.cli.main import main

    return main(list(words))


def write_config(name, words, **changes):
    """A config of a command line, with other values at its top."""
    import yaml

    from lightning_tasks.cli.parser import task_parser

    config = yaml.safe_load(task_parser().dump(task_parser().parse_args(["fit", *words]), skip_none=True))["fit"]
    Path("configs").mkdir(exist_ok=True)
    Path(f"configs/{name}.yaml").write_text(yaml.safe_dump(config | changes))


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
    from lightning_tasks import cli

    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, env),
        mock.patch.object(sys, "argv", ["cli.py", *map(str, words)]),
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


def superclasses():
    """Names of the superclasses of CIFAR-100, in their order, from the project's own groups of them."""
    import yaml

    groups = yaml.safe_load((ROOT / "configs/groups/cifar100.yaml").read_text())
    return sorted(name for group in groups for name in group["superclasses"])


def printed(capsys, *words):
    """The config that a command prints."""
    with pytest.raises(SystemExit) as stop:
        run_cli(*words, "--print_config")
    assert not stop.value.code
    return capsys.readouterr().out
