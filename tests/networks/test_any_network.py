"""Networks of other people, all the way: trained, distilled, tested, asked about files, taken away."""

import csv
import json

import numpy as np
import pytest
from helpers.commands import TINY_TRAINER, image_folder, run_card, run_cli
from helpers.external_nets import NETS

from lightning_tasks.export import load
from lightning_tasks.export.export import export

NETWORKS = {
    "torchvision": ("torchvision.models.squeezenet1_1", {}),
    "timm": ("timm.create_model", {"dict_kwargs": {"model_name": "mobilenetv3_small_050"}}),
    "hand-written": ("all_the_way.Small", {"init_args": {"width": 8}}),
}


@pytest.fixture
def photos(tmp_path):
    return image_folder(tmp_path / "photos", {"train": 10, "test": 4}, ["ant", "bee", "cat"])


@pytest.mark.slow
@pytest.mark.parametrize("whose", NETWORKS)
def test_all_the_way(whose, photos, tmp_path, monkeypatch):
    if whose == "timm":
        pytest.importorskip("timm")
    (tmp_path / "all_the_way.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    path, options = NETWORKS[whose]
    network = json.dumps({"class_path": path, **options})
    data = ["--data=ImageFolderDataModule", f"--data.folder={photos}", "--trainer.max_epochs=1", *TINY_TRAINER]

    run_cli("fit", "--model=ClassificationTask", f"--model.network={network}", "--experiment=teacher", *data)
    teacher = run_card("teacher")
    assert set(teacher["metrics"]) >= {"test/acc", "val/acc"}

    words = ["--model=DFADTask", f"--model.teacher={network}", "--model.teacher_ckpt=logs/teacher"]
    words += ["--model.student=ResNet", "--model.student.depth=10", "--model.student.width=2", "--model.batch_size=4"]
    words += ["--model.generator=ImageGenerator", "--model.generator.width=4", "--experiment=student", *data]
    run_cli("fit", *words, "--data.steps_per_epoch=2")
    card = run_card("student")
    assert card["parameters"]["teacher"] == teacher["parameters"]["network"]
    assert card["metrics"]["test/acc_teacher"] == pytest.approx(teacher["metrics"]["test/acc"])

    cli = run_cli("test", *words, "--ckpt_path=last")
    assert 0 <= cli.trainer.callback_metrics["test/acc"].item() <= 1
    assert cli.model.teacher.network.num_classes == 3

    run_cli("predict", *words, "--ckpt_path=last", f"--data.predict={photos / 'test'}")
    (answers,) = (tmp_path / "logs" / "student").rglob("predictions.csv")
    with open(answers) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {cell for row in rows for cell in row.values()} >= {"ant", "bee", "cat"}

    for name in ("teacher", "student"):
        folder, facts = export(f"logs/{name}", tmp_path / name, False, "MIT", "python cli.py export")
        model = load(folder)
        largest = np.abs(model(np.zeros((1, 3, 32, 32), np.uint8))).max()
        assert facts["measured"]["ONNX, float32"]["difference"] <= 1e-4 * largest + 1e-4, largest
        assert model.classes == ["ant", "bee", "cat"]
        images = np.zeros((2, 3, 32, 32), np.uint8)
        np.testing.assert_allclose(model.probabilities(images).sum(1), 1, rtol=1e-5)
