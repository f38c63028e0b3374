"""Exported networks: equal to what was trained, in all formats, and usable without PyTorch."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import ROOT, TINY_BY_HAND, TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, run_card, run_cli
from helpers.plots import spy
from helpers.quickdraw_files import write as write_drawings
from PIL import Image
from safetensors import safe_open
from torch import nn

from datamodules import DigitsDataModule
from lightning_tasks import ResNet
from lightning_tasks.export import command, load
from lightning_tasks.export import export as export_module
from lightning_tasks.export.card import card, table
from lightning_tasks.export.export import export
from lightning_tasks.export.graph import Graph

FILES = {"README.md", "predict.py", "model.json", "model.onnx", "model_int8.onnx", "model.pt2", "model.safetensors"}


@pytest.fixture(scope="module")
def exported(teacher_ckpt, tmp_path_factory):
    """The tiny teacher of all tests."""
    out = tmp_path_factory.mktemp("exported")
    return export(str(teacher_ckpt), out, False, "MIT", "python cli.py export")


def trained(teacher_ckpt):
    """Its network, and test images with what it answers."""
    weights = torch.load(teacher_ckpt, weights_only=True)["state_dict"]
    network = ResNet(10, (1, 16, 16), depth=10, width=4)
    network.load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
    data = DigitsDataModule(test_per_class=10)
    data.setup("test")
    images, labels = data.test_set.images, data.test_set.labels
    with torch.no_grad():
        return network, images.numpy(), labels.numpy(), network.eval()(data.normalise(images.float() / 255)).numpy()


def test_all_formats_give_what_the_network_gives(exported, teacher_ckpt):
    folder, _ = exported
    assert {path.name for path in folder.iterdir()} == FILES
    network, images, _, logits = trained(teacher_ckpt)
    model = load(folder)
    np.testing.assert_allclose(model(images), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model(images.astype(np.float32) / 255), logits, rtol=1e-4, atol=1e-4)
    assert model(images[:1]).shape == (1, 10)
    np.testing.assert_allclose(model.probabilities(images), torch.tensor(logits).softmax(1).numpy(), atol=1e-4)
    program = torch.export.load(folder / "model.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(images[:3]).float() / 255).numpy(), logits[:3], atol=1e-4)
    with safe_open(folder / "model.safetensors", "np") as file:
        assert json.loads(file.metadata()["facts"])["mean"] == [0.3053]
        assert set(file.keys()) == set(network.state_dict())
        assert np.array_equal(file.get_tensor("fc.weight"), network.fc.weight.detach().numpy())
    small = load(folder, "int8")
    assert (small(images).argmax(1) == logits.argmax(1)).mean() > 0.9
    assert not np.allclose(small(images), logits, atol=1e-4)
    assert (folder / "model_int8.onnx").stat().st_size < (folder / "model.onnx").stat().st_size


def test_facts_by_hand(exported, teacher_ckpt):
    folder, facts = exported
    _, images, labels, logits = trained(teacher_ckpt)
    accuracy = (logits.argmax(1) == labels).mean()
    measured = facts["measured"]
    assert list(measured) == ["PyTorch", "torch.export", "ONNX, float32", "ONNX, int8"]
    for name, precision in (("ONNX, float32", "float32"), ("ONNX, int8", "int8")):
        answers = load(folder, precision)(images)
        assert measured[name]["accuracy"] == pytest.approx((answers.argmax(1) == labels).mean())
        assert measured[name]["difference"] == pytest.approx(np.abs(answers - logits).max(), rel=0.2, abs=1e-5)
    assert measured["PyTorch"]["accuracy"] == pytest.approx(accuracy)
    assert accuracy == pytest.approx(
        json.loads((teacher_ckpt.parents[1] / "run.json").read_text())["metrics"]["test/acc"]
    )
    assert measured["ONNX, int8"]["bytes"] == (folder / "model_int8.onnx").stat().st_size
    assert all(row["images_per_second"] > 1 for row in measured.values())
    assert facts["classes"] == [str(digit) for digit in range(10)]
    assert facts["calibrated_on"] == "100 training images"
    assert facts["compared_on"].startswith("100 test images")
    assert facts["trained_by"].startswith("python cli.py fit --model=ClassificationTask")
    assert json.loads((folder / "model.json").read_text()) == facts
    assert (folder / "README.md").read_text() == card(facts)


def test_card():
    measured = {
        "PyTorch": {"accuracy": 0.98765, "images_per_second": 1234.5},
        "ONNX, int8": {"accuracy": 0.5, "images_per_second": 9876.5, "bytes": 2_345_678, "difference": 0.0123},
    }
    facts = {"network": "Net", "dataset": "set", "classes": [f"c{n}" for n in range(23)], "image_shape": [3, 8, 9]}
    facts |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "parameters": 1234, "weights": "raw", "licence": "MIT"}
    facts |= {"trained_by": "a", "exported_by": "b", "measured": measured, "compared_on": "x", "calibrated_on": "y"}
    said = card(facts)
    assert said.startswith("# Net, 23 classes of set\n")
    assert "(batch, 3, 8, 9), floats in [0, 1]" in said
    assert "c18, c19 and 3 more, all in model.json" in said
    assert "c20" not in said
    assert "licence: MIT" in said
    rows = table(facts).splitlines()
    assert rows[2] == "| PyTorch | - | 98.77 | - | 1,234 |"
    assert rows[3] == "| ONNX, int8 | 2,346 | 50.00 | 1.2e-02 | 9,876 |"


def test_further_heads_are_left_out():
    graph = Graph(nn.Sequential(nn.Flatten(), nn.Linear(4, 7)), 3, (0.5,), (0.25,))
    x = torch.rand(5, 1, 2, 2)
    torch.testing.assert_close(graph(x), graph.network((x - 0.5) / 0.25)[:, :3])


@pytest.mark.slow
def test_a_task_of_several_heads_on_data_with_groups(cifar_root, tmp_path):
    words = [f"--config={ROOT}/configs/cifar100_multitask.yaml", f"--data.root={cifar_root}", "--data.batch_size=50"]
    words += ["--data.val_fraction=0.25", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--plots=false"]
    run_cli("fit", *words, "--trainer.precision=32-true", "--model.test_time_flip=false")
    _, facts = export("logs/cifar100_multitask", tmp_path / "out", False, "x", "y")
    assert len(facts["classes"]) == 100
    accuracy = run_card("cifar100_multitask")["metrics"]["test/acc_fine"]
    assert facts["measured"]["ONNX, float32"]["accuracy"] == pytest.approx(accuracy, abs=0.011)  # equal images


@pytest.mark.slow
def test_a_recogniser_of_drawings_and_a_run_with_flips(tmp_path):
    """Its data have no option for what `predict` reads; its card says what the run's figures have besides."""
    write_drawings(tmp_path, ("cat", "bus"))
    words = ["--data=QuickDrawImagesDataModule", "--data.words=[cat, bus]", "--data.image_size=16", "--data.root=."]
    words += [*TINY_TEACHER[:4], "--data.batch_size=5", "--experiment=recogniser", "--model.test_time_flip=true"]
    run_cli("fit", *words, *TINY_TRAINER, "--trainer.max_epochs=1")
    folder, facts = export("logs/recogniser", tmp_path / "out", False, "x", "y")
    assert facts["classes"] == ["cat", "bus"]
    assert 0 <= facts["measured"]["ONNX, float32"]["accuracy"] <= 1
    assert "without their mirror images, which the run's test_time_flip adds" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_a_student_is_calibrated_on_inventions_and_its_average_may_be_taken(teacher_ckpt, tmp_path, monkeypatch):
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.max_epochs=1"]
    task = run_cli("fit", *words, "--model.ema_decay=0.5").model
    calls = spy(monkeypatch, export_module, "write_int8")
    raw, averaged = (export("logs/dfad", tmp_path / f"{ema}", ema, "x", "y") for ema in (False, True))
    assert len(calls) == 2
    for _, images in calls:
        np.testing.assert_allclose(images, task.sample(512)[0].numpy(), atol=1e-5)
    metrics = run_card("dfad")["metrics"]
    for (folder, facts), name in ((raw, "test/acc"), (averaged, "test/acc_ema")):
        assert facts["calibrated_on"] == "512 images of its generator"
        assert facts["measured"]["PyTorch"]["accuracy"] == pytest.approx(metrics[name])
        assert facts["weights"].startswith("averaged" if name.endswith("ema") else "raw")
    images = np.random.default_rng(0).random((3, 1, 16, 16), np.float32)
    assert not np.allclose(load(raw[0])(images), load(averaged[0])(images))


@pytest.mark.slow
def test_without_images_it_is_compared_on_noise(teacher_ckpt, tmp_path):
    shutil.copy(teacher_ckpt, tmp_path / "alone.ckpt")
    _, facts = export(str(tmp_path / "alone.ckpt"), tmp_path / "out", False, "x", "y")
    assert facts["compared_on"].startswith("500 images of noise")
    assert facts["calibrated_on"] == "noise, for lack of images"
    assert all("accuracy" not in row for row in facts["measured"].values())
    assert facts["trained_by"] == "unknown"
    with pytest.raises(ValueError, match=r"--out: .*alone.ckpt is not in a run's folder; say where to write"):
        export(str(tmp_path / "alone.ckpt"), None, False, "x", "y")


@pytest.mark.slow
def test_a_run_of_the_users_own_network(tmp_path, monkeypatch):
    (tmp_path / "exported_nets.py").write_text(
        "from torch import nn\ndef make(num_classes, image_shape):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(256, num_classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["--model=ClassificationTask", *TINY_DATA, *TINY_TRAINER, "--data.batch_size=25", "--trainer.max_epochs=1"]
    run_cli("fit", *words, "--model.network=exported_nets.make", "--experiment=own")
    monkeypatch.delitem(sys.modules, "exported_nets")  # as in a new process
    folder, facts = export("logs/own", None, False, "x", "y")
    assert folder == Path("logs/own/version_0/export")
    assert facts["measured"]["PyTorch"]["accuracy"] == pytest.approx(run_card("own")["metrics"]["test/acc"])


def photos(folder):
    """Images of many kinds, one that only its EXIF turns upright, and files that are none."""
    random = np.random.default_rng(0)
    colours = Image.fromarray(random.integers(0, 256, (90, 120, 3), np.uint8))
    folder.mkdir()
    colours.resize((640, 400)).save(folder / "large.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    colours.save(folder / "turned.JPG", exif=turned)
    Image.fromarray(random.integers(0, 2**16, (20, 30)).astype(np.uint16)).save(folder / "deep.png")
    colours.convert("RGBA").save(folder / "clear.webp", lossless=True)
    colours.convert("P").save(folder / "few.gif")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "._few.gif").write_bytes(b"of a Mac")
    (folder / "notes.txt").write_text("")
    for hidden in (".ipynb_checkpoints", "__MACOSX"):
        (folder / hidden).mkdir()
        colours.save(folder / hidden / "copy.png")
    return folder


def test_the_folder_needs_nothing_of_ours(teacher_ckpt, exported, tmp_path):
    """Its predict.py writes the table that the command line writes, but for digits of the probabilities."""
    here = photos(tmp_path / "photos")
    there = shutil.copytree(exported[0], tmp_path / "elsewhere")
    spy = "import sys; sys.argv[:] = sys.argv[1:]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__');"
    spy += "print(sorted({'torch', 'lightning_tasks', 'datamodules'} & set(sys.modules)))"
    words = [there / "predict.py", here, "--out", tmp_path / "theirs.csv"]
    done = subprocess.run([sys.executable, "-P", "-c", spy, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"predictions: {tmp_path / 'theirs.csv'}", "[]"]
    assert done.stderr.startswith(f"warning: {here / 'broken.png'} is not a readable image")
    words = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, f"--ckpt_path={teacher_ckpt}", f"--data.predict={here}"]
    cli = run_cli("predict", *words)
    ours = Path(cli.trainer.log_dir, "predictions.csv")
    tables = [list(csv.DictReader(path.open(newline=""))) for path in (ours, tmp_path / "theirs.csv")]
    assert [*tables[0][0]] == [*tables[1][0]]
    assert len(tables[0]) == len(tables[1]) == 6
    for our, their in zip(*(sorted(rows, key=lambda row: row["file"]) for rows in tables), strict=True):
        for column, value in our.items():
            if "probability" in column and value:
                assert float(their[column]) == pytest.approx(float(value), abs=2e-4)
            else:
                assert their[column] == value


@pytest.mark.slow
def test_the_folder_says_what_is_wrong(exported, tmp_path):
    for words, line in (
        (["nothing"], "error: no image files at nothing"),
        ([exported[0], "--precision=int4"], "argument --precision: invalid choice: 'int4'"),
    ):
        command = [sys.executable, "-P", exported[0] / "predict.py", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode != 0
        assert line in done.stderr.splitlines()[-1]
        assert not list(tmp_path.iterdir())


def test_images_of_other_shapes_and_types_are_refused(exported):
    model = load(exported[0])
    assert model(np.zeros((2, 1, 16, 16), np.uint8)).shape == (2, 10)
    assert model.classes[3] == "3"
    with pytest.raises(ValueError, match=r"expected images \(B, 1, 16, 16\), got \(2, 3, 16, 16\)"):
        model(np.zeros((2, 3, 16, 16), np.uint8))
    with pytest.raises(ValueError, match=r"expected uint8 images, or floats in \[0, 1\], got int64"):
        model(np.zeros((2, 1, 16, 16), np.int64))


@pytest.mark.parametrize(
    ("low", "high", "why"),
    [(0, 255, r"0 to 255: divide by 255\?"), (0, 1.01, "divide by 255"), (-2.1, 2.6, r"normalises them itself")],
)
def test_floats_out_of_range_are_refused(exported, low, high, why):
    images = np.linspace(low, high, 256).reshape(1, 1, 16, 16)
    with pytest.raises(ValueError, match=rf"expected floats in \[0, 1\], got .*{why}"):
        load(exported[0])(images)


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.2, 0.3), (-1e-4, 1 + 1e-4)])
def test_floats_in_range_are_taken(exported, low, high):
    assert load(exported[0])(np.linspace(low, high, 256).reshape(1, 1, 16, 16)).shape == (1, 10)


def test_numbers_that_are_none_are_refused(exported):
    with pytest.raises(ValueError, match="got nan to nan"):
        load(exported[0])(np.full((1, 1, 16, 16), np.nan))


def test_what_cannot_be_exported(teacher_ckpt, tmp_path, monkeypatch):
    def refused(match, error=ValueError, source=teacher_ckpt, averaged=False):
        with pytest.raises(error, match=match):
            export(str(source), tmp_path / "out", averaged, "x", "y")
        assert not (tmp_path / "out").exists()

    refused("ckpt: no checkpoint at nothing", FileNotFoundError, "nothing")
    refused("has no averaged weights; train with --model.ema_decay", averaged=True)
    checkpoint = torch.load(teacher_ckpt, weights_only=True)
    checkpoint["hyper_parameters"]["_class_path"] = "lightning_tasks.SketchTask"
    torch.save(checkpoint, tmp_path / "a.ckpt")
    refused("is of a SketchTask, which is no classifier", source=tmp_path / "a.ckpt")
    run_cli("fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=1", "--experiment=by_hand")
    refused("is of a ByHandTask, whose network is no PyTorch module", source="logs/by_hand")
    with pytest.raises(FileNotFoundError, match=r"no exported network in .*: expected model.json and model.onnx"):
        load(tmp_path)
    monkeypatch.setattr("lightning_tasks.export.export.find_spec", lambda name: None if "onnx" in name else 1)
    refused(r"export needs onnx, onnxscript, onnxruntime: pip install 'lightning-tasks\[export\]'")


def test_the_command_shows_a_table(exported, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(export_module, "export", lambda *given: exported)
    command.main(["--ckpt", "any"])
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"exported: {exported[0]}"
    assert "ONNX, int8" in said
    assert "| " not in said  # a table, not Markdown


def test_the_command_fails_in_one_line(children, tmp_path):
    done = children.run(["--ckpt", "nothing"], tmp_path, "export")
    assert done.status == 1
    assert done.err.startswith("error: ckpt: no checkpoint at nothing")


@pytest.mark.slow
def test_the_command(teacher_ckpt, tmp_path):
    words = ["export", "--ckpt", teacher_ckpt, "--out", tmp_path / "out", "--licence", "MIT"]
    command = [sys.executable, ROOT / "cli.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"exported: {tmp_path / 'out'}"
    assert "ONNX, int8" in done.stdout
    assert "| " not in done.stdout  # a table, not Markdown
    assert "licence: MIT" in Path(tmp_path / "out/README.md").read_text()
