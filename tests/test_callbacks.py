import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from conftest import TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, run_cli
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_tasks import ClassificationTask, ResNet
from lightning_tasks.callbacks.confusion import draw_confusion
from lightning_tasks.callbacks.curves import draw_curves
from lightning_tasks.callbacks.generated import draw_generated

PICTURES = (
    '[{"class_path": "GeneratedPicture", "init_args": {"every_n_epochs": 2}}, "CurvesPicture", "ConfusionPicture"]'
)


def test_pictures_of_a_run(teacher_ckpt):
    run_cli(
        "fit",
        *TINY_DFAD,
        *TINY_DATA,
        *TINY_TRAINER,
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--trainer.max_epochs=3",
        *(f"--model.scheduler_{name}=torch.optim.lr_scheduler.ConstantLR" for name in ("student", "generator")),
        f"--trainer.callbacks={PICTURES}",
    )
    run = Path("logs/dfad/version_0")
    figures = {path.name for path in (run / "figures").iterdir()}
    assert figures == {"generated_0002.png", "generated_0003.png", "curves.png", "confusion.png"}
    for path in (run / "figures").iterdir():
        assert matplotlib.image.imread(path).std() > 0.01
    tags = {"scalars": set(), "images": set()}
    for path in run.glob("events*"):
        events = EventAccumulator(str(path)).Reload()
        for kind in tags:
            tags[kind] |= set(events.Tags()[kind])
    assert {"train/loss_student", "train/loss_generator", "train/class_entropy", "val/acc"} <= tags["scalars"]
    assert {"val/agreement", "test/acc", "test/acc_10pct", "lr/student", "lr/generator"} <= tags["scalars"]
    assert {"curves", "confusion", "generated"} <= tags["images"]


def test_pictures_of_any_named_layer():
    """Of a ResNet with dropout and batch normalisation: they change neither modes nor weights."""
    maps = {"layers": ["network.stem", "network.stages.0"], "every_n_epochs": 2}
    points = {"layer": "network.stages", "epochs": [-1]}
    callbacks = json.dumps(
        [
            {"class_path": "ActivationPicture", "init_args": maps},
            {"class_path": "TSNEPicture", "init_args": points},
        ]
    )
    words = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=3"]
    run_cli(*words, "--experiment=drawn", f"--trainer.callbacks={callbacks}")
    run_cli(*words, "--experiment=bare")
    figures = {path.name for path in Path("logs/drawn/version_0/figures").iterdir()}
    assert figures == {"activations_0002.png", "activations_0003.png", "tsne_network.stages_0003.png"}
    for path in Path("logs/drawn/version_0/figures").iterdir():
        assert matplotlib.image.imread(path).std() > 0.01
    drawn, bare = (
        torch.load(f"logs/{name}/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("drawn", "bare")
    )
    assert all(torch.equal(drawn[name], value) for name, value in bare.items())


def test_layer_outputs_are_those_of_evaluation():
    task = ClassificationTask(
        10, (1, 16, 16), (0.3,), (0.3,), network=lambda classes, shape: ResNet(classes, shape, depth=10, width=4)
    )
    task.train()
    task.network.stages[0].eval()
    x = torch.randn(4, 1, 16, 16)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    outputs = task.layer_outputs(x, ["network.stem", "network"])
    assert all(torch.equal(before[name], value) for name, value in task.state_dict().items())
    assert task.network.training
    assert not task.network.stages[0].training
    task.eval()
    assert torch.equal(outputs["network"], task(x))
    assert outputs["network.stem"].shape == (4, 4, 16, 16)
    with pytest.raises(ValueError, match=r"no layer 'stem' in the network; known are .*network, network.stem"):
        task.layer_outputs(x, ["stem"])
    with pytest.raises(ValueError, match=r"'val_confusion' gives no tensor when the network maps images"):
        task.layer_outputs(x, ["val_confusion"])


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        ('{"class_path": "TSNEPicture", "init_args": {"layer": "nothing"}}', "no layer 'nothing' in the network"),
        (
            '{"class_path": "TSNEPicture", "init_args": {"layer": "network", "epochs": [0]}}',
            "epochs must be at least 1",
        ),
        ('{"class_path": "ActivationPicture", "init_args": {"layers": ["network"]}}', "network gives no channels"),
        ('{"class_path": "ActivationPicture", "init_args": {"layers": [], "every_n_epochs": 0}}', "at least 1, got 0"),
    ],
)
def test_bad_pictures_are_refused_before_training(callback, message):
    words = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]
    with pytest.raises(ValueError, match=message):
        run_cli(*words, f"--trainer.callbacks=[{callback}]")


def test_any_logger_or_none_works(teacher_ckpt):
    for logger in ("CSVLogger", "false"):
        extra = ["--trainer.logger.save_dir=csv"] if logger == "CSVLogger" else []
        run_cli(
            "fit",
            *TINY_DFAD,
            *TINY_DATA,
            *TINY_TRAINER,
            f"--model.teacher_ckpt={teacher_ckpt}",
            "--trainer.max_epochs=1",
            f"--trainer.logger={logger}",
            *extra,
            f"--trainer.callbacks={PICTURES}",
        )
    assert list(Path("csv").rglob("figures/curves.png"))
    assert list(Path("csv").rglob("run.json"))
    assert Path("figures/curves.png").is_file()


def test_confusion_names_the_worst_pair_and_handles_an_empty_class():
    counts = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]])
    figure = draw_confusion(counts, ["cat", "dog", "eel"])
    texts = [text.get_text() for text in figure.axes[1].texts]
    assert "2  cat -> dog" in texts[0]
    assert texts[0].index("cat -> dog") < texts[0].index("dog -> cat")
    assert "85.00%" in figure.axes[0].get_title()


def test_curves_have_a_panel_for_losses_and_one_for_shares():
    figure = draw_curves({"train/loss": [(0, 1.0), (1, 0.5)], "val/acc": [(1, 0.7)]})
    labels = [axes.get_legend_handles_labels()[1] for axes in figure.axes]
    assert labels == [["train/loss (last 0.5)"], ["val/acc (last 0.7)"]]


def test_generated_images_are_laid_out_in_order():
    images = torch.linspace(0, 1, 5).view(5, 1, 1, 1).expand(5, 3, 4, 4)
    grid = draw_generated(images, torch.tensor([1, 3]), "x").axes[0].images[0].get_array()
    assert grid.shape == (3 * 6, 3 * 6, 3)
    assert np.allclose([grid[2, 2, 0], grid[2, 8, 0], grid[8, 2, 0]], [0, 0.25, 0.75])
