"""Which files of a folder are read, which are skipped, and what is said of them."""

import logging
import os
import warnings

import pytest
from helpers.commands import image_folder
from PIL import Image

from datamodules import ImageFolderDataModule
from datamodules.decoding import decode_to_file


def moved(folder, pattern, change):
    """Change files: save them in another format, as their new name ends, or move them."""
    for path in sorted(folder.glob(pattern)):
        target = change(path)
        target.parent.mkdir(exist_ok=True)
        with Image.open(path) as image:
            image.save(target)
        path.unlink()


class TestWhatIsRead:
    """Nothing is left out, or let in, without a word."""

    def made(self, tmp_path, parts=("train", "test"), classes=("cat", "dog", "owl"), count=3):
        return image_folder(tmp_path / "photos", dict.fromkeys(parts, count), classes)

    @pytest.mark.parametrize("kind", ["gif", "jfif", "jpe", "pgm", "pbm", "pnm"])
    def test_kinds_that_are_read_too(self, tmp_path, kind, caplog):
        folder = self.made(tmp_path)
        for path in folder.glob("*/dog/*.png"):
            form, mode = {"gif": ("GIF", "P"), "pgm": ("PPM", "L"), "pbm": ("PPM", "1"), "pnm": ("PPM", "RGB")}.get(
                kind, ("JPEG", "RGB")
            )
            Image.open(path).convert(mode).save(path.with_suffix(f".{kind}"), form)
            path.unlink()
        with caplog.at_level(logging.INFO), warnings.catch_warnings():
            warnings.simplefilter("error")
            data = ImageFolderDataModule(str(folder))
        assert data.class_names == ["cat", "dog", "owl"]
        assert [len(each) for each in data.load()] == [9, 9]
        assert f"9 images of 3 classes in {folder}/train (6 .png, 3 .{kind}), 9 images of 3" in caplog.text

    def test_the_first_picture_of_an_animation(self, tmp_path):
        frames = [Image.new("RGB", (8, 8), (red, 0, 0)) for red in (250, 120, 0)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        frames[0].save(tmp_path / "b.png", save_all=True, append_images=frames[1:])
        images = decode_to_file([tmp_path / "a.gif", tmp_path / "b.png"], tmp_path / "cache").array
        assert images[:, 0].min() >= 249

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                lambda path: path.parent / "puppy" / path.name,
                r"dog has images in subfolders only \(3 \.png in .*dog/puppy\)",
            ),
            (lambda path: path.with_suffix(".tga"), r"dog has no image, but 3 \.tga; convert them to \.png or \.jpg"),
            (lambda path: path.parent / f".{path.name}", r"dog is empty; put its images there or remove it"),
        ],
    )
    @pytest.mark.parametrize("part", ["train", "test"])
    def test_a_class_without_an_image_is_refused(self, tmp_path, change, said, part):
        folder = self.made(tmp_path)
        moved(folder, f"{part}/dog/*.png", change)
        with pytest.raises(FileNotFoundError, match=f"data.folder: class folder .*/{part}/{said}"):
            ImageFolderDataModule(str(folder))

    def test_half_a_class_and_other_kinds_are_said(self, tmp_path):
        folder = self.made(tmp_path)
        moved(folder, "train/dog/0.png", lambda path: path.parent / "puppy" / path.name)
        moved(folder, "train/owl/0.png", lambda path: path.with_suffix(".tga"))
        (folder / "unsorted").mkdir()
        for place in ("notes.txt", "train/cat/Thumbs.db", "test/READ ME", "unsorted/x.png"):
            (folder / place).write_text("")
        expected = (
            rf"data.folder: 7 images of 3 classes in {folder}/train \(7 \.png\), 9 images of .*; not read: 2 \.png in"
            rf" {folder}/train/dog/puppy and {folder}/unsorted, 1 \.db in {folder}/train/cat, 1 \.tga in"
            rf" {folder}/train/owl, 2 of other kinds$"
        )
        with pytest.warns(UserWarning, match=expected):
            data = ImageFolderDataModule(str(folder))
        assert len(data.load()[0]) == 7

    def test_hidden_names_are_ignored(self, tmp_path):
        """Of Jupyter, of a Mac, of git; what they hold is no class, no image and no part."""
        folder = self.made(tmp_path)
        picture = (folder / "train/cat/0.png").read_bytes()
        places = (".ipynb_checkpoints/0.png", "train/.ipynb_checkpoints/0.png", "train/cat/._0.png", "._train")
        places += ("__MACOSX/train/cat/._0.png", "train/__MACOSX/._0.png", "test/dog/.cache/0.png", ".DS_Store")
        for place in places:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(b"no image" if "._" in place else picture)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = ImageFolderDataModule(str(folder))
        assert data.class_names == ["cat", "dog", "owl"]
        assert [len(each) for each in data.load()] == [9, 9]

    @pytest.mark.parametrize("name", ["valid", "validation", "dev", "Val", "VALID"])
    def test_names_of_the_validation_part(self, tmp_path, name):
        data = ImageFolderDataModule(str(self.made(tmp_path, ("train", name, "test"))))
        data.setup("fit")
        assert [len(each) for each in (data.train_set, data.val_set, data.test_set)] == [9, 9, 9]
        assert data.val_set.images[:, 0, 0, 0].tolist() == list(range(10, 19))

    def test_names_of_the_other_parts(self, tmp_path):
        data = ImageFolderDataModule(str(self.made(tmp_path, ("Training", "Testing"))))
        assert [len(each) for each in data.load()] == [9, 9]
        (data.folder / "train" / "cat").mkdir(parents=True)
        with pytest.raises(ValueError, match=r"photos/Training and .*photos/train both mean train; move one of them"):
            ImageFolderDataModule(str(data.folder))

    @pytest.mark.parametrize("classes", [("bus", "car", "train"), ("control", "test"), ("dev", "test", "train", "val")])
    def test_a_class_that_is_called_as_a_part(self, tmp_path, classes):
        folder = self.made(tmp_path, (".",), classes, 10)
        data = ImageFolderDataModule(str(folder), split="70:30")
        assert data.class_names == list(classes)
        (folder / classes[-1] / "empty").mkdir()
        assert ImageFolderDataModule(str(folder), split="70:30").class_names == list(classes)

    def test_a_part_with_an_image_beside_its_classes(self, tmp_path):
        folder = self.made(tmp_path)
        Image.new("RGB", (9, 9)).save(folder / "train" / "cover.png")
        with pytest.warns(UserWarning, match=r"9 images of 3 classes in .*; not read: 1 \.png in .*photos/train$"):
            assert ImageFolderDataModule(str(folder)).class_names == ["cat", "dog", "owl"]

    def test_a_test_part_without_classes_is_said(self, tmp_path):
        folder = self.made(tmp_path, ("train",), count=10)
        (folder / "test").mkdir()
        Image.new("RGB", (32, 32)).save(folder / "test" / "0.png")
        with pytest.warns(UserWarning, match=r"not read: 1 \.png in .*photos/test$"):
            assert ImageFolderDataModule(str(folder), split="70:30").load()[1] is None

    def test_links_are_followed_and_not_for_ever(self, tmp_path):
        folder = self.made(tmp_path)
        (folder / "train" / "dog").rename(tmp_path / "elsewhere")
        (folder / "train" / "dog").symlink_to(tmp_path / "elsewhere")
        (folder / "train" / "cat" / "up").symlink_to(folder / "train")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(ImageFolderDataModule(str(folder)).load()[0]) == 9

    def test_images_that_lie_too_deep_are_counted(self, tmp_path):
        folder = image_folder(tmp_path / "deep", {"x/y": 2}, ["a", "b"])
        with pytest.raises(
            FileNotFoundError, match=r"found 0 images of 0; there are 4 \.png in .*deep/x/y/a and .*y/b$"
        ):
            ImageFolderDataModule(str(folder))
        with pytest.raises(
            FileNotFoundError, match=r"found 0 images of 0; there are 4 \.png in .*deep/x/y/a and .*y/b$"
        ):
            ImageFolderDataModule(str(folder / "x"))


def test_folders_that_change_places_have_their_new_labels(tmp_path):
    """Their files have equal names, sizes and times."""
    folder = image_folder(tmp_path, {"train": 3, "test": 1}, ["cat", "dog"])
    paths = sorted(folder.glob("*/*/*.png"))
    for path in paths:
        path.write_bytes(path.read_bytes().ljust(1000, b"\0"))
        os.utime(path, (1, 1))
    assert ImageFolderDataModule(str(folder)).load()[0].images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    for name, other in (("cat", "x"), ("dog", "cat"), ("x", "dog")):
        (folder / "train" / name).rename(folder / "train" / other)
    data = ImageFolderDataModule(str(folder))
    assert data.load()[0].images[:, 0, 0, 0].tolist() == [4, 5, 6, 1, 2, 3]
    assert data.load()[0].labels.tolist() == [0, 0, 0, 1, 1, 1]
