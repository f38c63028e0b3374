"""Predictions on a user's own files."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import TINY_DATA, TINY_TEACHER, TINY_TRAINER, refusal, run_cli
from helpers.plots import spy
from PIL import Image

from datamodules import DigitsDataModule, image_files
from datamodules.image_files import UNLABELLED, UNREADABLE, ImageFiles, find_images, read_image
from lightning_tasks.callbacks import predictions

WORDS = [*TINY_TEACHER, *TINY_DATA, *TINY_TRAINER]


def digits(folder, count=12):
    """Test digits as PNG files of another size, under awkward names."""
    data = DigitsDataModule(test_per_class=10)
    data.setup("test")
    images = data.test_set.images[:count, 0].numpy()
    folder.mkdir()
    paths = [folder / f"{index:02} a, b\nc.png" for index in range(count)]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image).resize((48, 48), Image.Resampling.NEAREST).save(path)
    return paths, data


class TestFinding:
    def test_files_folders_and_patterns(self, tmp_path):
        for name in ("b.png", "a.JPG", "notes.txt", "deep/c.webp", "deep/er/d.bmp"):
            path = tmp_path / "x" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        folder = tmp_path / "x"
        assert find_images([str(folder)]) == [folder / n for n in ("a.JPG", "b.png", "deep/c.webp", "deep/er/d.bmp")]
        assert find_images([f"{folder}/*.png", str(folder / "a.JPG")]) == [folder / "b.png", folder / "a.JPG"]
        assert find_images([f"{folder}/**/*.bmp", str(folder / "deep")]) == [
            folder / "deep/er/d.bmp",
            folder / "deep/c.webp",
        ]
        assert find_images([str(folder / "notes.txt")]) == [folder / "notes.txt"]  # the user names it
        assert find_images([]) == []
        for place in ("nothing", f"{folder}/*.txt", str(tmp_path / "empty")):
            (tmp_path / "empty").mkdir(exist_ok=True)
            with pytest.raises(FileNotFoundError, match=f"data.predict: no image files at {place}".replace("*", r"\*")):
                find_images([str(folder), place])

    def test_hidden_files_are_left_out_and_others_said(self, tmp_path, recwarn):
        names = (
            "a.png",
            "b.gif",
            "c/d.pgm",
            "._a.png",
            ".ipynb_checkpoints/a.png",
            "__MACOSX/._b.gif",
            "c/.thumbs/d.png",
        )
        for name in names:
            (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "x" / name).write_text("")
        (tmp_path / "linked").mkdir()
        (tmp_path / "linked" / "e.jfif").write_text("")
        (tmp_path / "x" / "link").symlink_to(tmp_path / "linked")
        expected = [tmp_path / "x" / name for name in ("a.png", "b.gif", "c/d.pgm", "link/e.jfif")]
        assert find_images([str(tmp_path / "x")]) == expected
        assert find_images([f"{tmp_path}/x/*", f"{tmp_path}/x/**/*.pgm"]) == expected[:3]
        assert not recwarn
        (tmp_path / "x" / "c" / "f.heic").write_text("")
        for place in (f"{tmp_path}/x", f"{tmp_path}/x/c/*"):
            with pytest.warns(UserWarning, match=r"data\.predict: .*1 \.pgm.* at .*; not read: 1 \.heic in .*/x/c$"):
                find_images([place])


class TestReading:
    def test_the_middle_of_a_wide_image_at_its_proportions(self, tmp_path):
        """Thirds of red, green and blue; the square in the middle is green."""
        pixels = np.zeros((20, 60, 3), np.uint8)
        for third in range(3):
            pixels[:, 20 * third : 20 * third + 20, third] = 200
        Image.fromarray(pixels).save(tmp_path / "a.png")
        read = read_image(tmp_path / "a.png", (3, 10, 10))
        assert read.shape == (3, 10, 10)
        assert read[:, 5, 5].tolist() == [0, 200, 0]
        assert (read[1, :, 1:-1] == 200).all()
        wide = read_image(tmp_path / "a.png", (3, 10, 30))
        assert [wide[:, 5, column].tolist() for column in (4, 14, 24)] == [[200, 0, 0], [0, 200, 0], [0, 0, 200]]

    def test_rows_columns_and_grey(self, tmp_path):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[1, 6] = 90
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert np.array_equal(read_image(tmp_path / "a.png", (1, 8, 8))[0], pixels)
        assert np.array_equal(read_image(tmp_path / "a.png", (3, 8, 8)), np.stack([pixels] * 3))

    def test_a_photograph_is_turned_upright(self, tmp_path):
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[:8] = 255
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
        assert read_image(tmp_path / "a.jpg", (3, 16, 16))[:, 12].min() > 200

    def test_what_cannot_be_read_is_marked(self, tmp_path):
        Image.new("L", (4, 4), 7).save(tmp_path / "a.png")
        (tmp_path / "b.png").write_text("no")
        images, labels = ImageFiles([tmp_path / "a.png", tmp_path / "b.png"], (1, 4, 4)).__getitems__([1, 0])
        assert labels.tolist() == [UNREADABLE, UNLABELLED]
        assert images.flatten(1).tolist() == [[0] * 16, [7] * 16]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_table_and_a_picture(teacher_ckpt, tmp_path, monkeypatch, workers):
    paths, data = digits(tmp_path / "photos")
    broken = tmp_path / "photos" / "05 broken.png"
    broken.write_text("no")
    monkeypatch.setattr("datamodules.images.workers_for", lambda files: workers)
    drawn = spy(monkeypatch, predictions, "draw_bands")
    words = [*WORDS, f"--ckpt_path={teacher_ckpt}", f"--data.predict={tmp_path / 'photos'}", "--data.eval_batch_size=5"]
    with pytest.warns(UserWarning, match=r"1 of 13 files are no images that can be read: .*05 broken.png"):
        cli = run_cli("predict", *words)
    with open(Path(cli.trainer.log_dir, "predictions.csv"), newline="") as file:
        head, *rows = csv.reader(file)
    ranks = ["", "_2", "_3", "_4", "_5"]
    assert head == ["file", *(f"{what}{rank}" for rank in ranks for what in ("predicted", "probability"))]
    files = sorted([*paths, broken])
    assert [row[0] for row in rows] == list(map(str, files))
    images = np.stack([read_image(path, (1, 16, 16)) for path in paths])
    with torch.no_grad():
        p = cli.model.eval()(data.normalise(torch.from_numpy(images).float() / 255)).softmax(1)
    for row in rows:
        if row[0] == str(broken):
            assert row[1:] == [""] * 10
            continue
        values, classes = p[paths.index(Path(row[0]))].topk(5)
        assert row[1::2] == [str(each) for each in classes.tolist()]
        assert [float(each) for each in row[2::2]] == pytest.approx(values.tolist(), abs=1e-3)
    (((surest, doubtful), title),) = [call[:2] for call in drawn]
    assert title == "digits network: answers to 12 files"
    order = p.max(1).values.argsort(descending=True, stable=True).tolist()
    assert [each[0] for each in surest[2]] == [paths[index].name[:20].replace("\n", r"\n") for index in order]
    assert [each[0] for each in doubtful[2]] == [paths[index].name[:20].replace("\n", r"\n") for index in order[::-1]]
    assert surest[1].shape == (12, 1, 16, 16)
    assert torch.equal(surest[1][0], torch.from_numpy(images[order[0]]))
    assert Path(cli.trainer.log_dir, "figures/predictions.png").is_file()


@pytest.mark.slow
def test_several_places_and_bad_ones(teacher_ckpt, tmp_path):
    digits(tmp_path / "photos", 3)
    ckpt = f"--ckpt_path={teacher_ckpt}"
    cli = run_cli("predict", *WORDS, ckpt, f"--data.predict=['{tmp_path}/photos/0[01]*', '{tmp_path}/photos/02*']")
    assert len(cli.datamodule.predict_files) == 3
    line = refusal(tmp_path, "predict", *WORDS, ckpt, "--data.predict=nothing")
    assert line == "error: data.predict: no image files at nothing"


def test_few_files_need_no_processes():
    assert image_files.workers_for([Path("a")] * 199) == 0
    assert image_files.workers_for([Path("a")] * 200) == 1
