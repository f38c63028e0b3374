"""Image files in one folder a class."""

import os

import numpy as np
import pytest
import torch
from helpers.commands import image_folder
from PIL import Image

from datamodules import ImageFolderDataModule, decoding
from datamodules.decoding import decode_to_file, open_rgb


def test_images_labels_and_facts(tmp_path):
    """Three cats and three ants of 3 x 5 pixels; colours are told by their number."""
    folder = image_folder(tmp_path / "pets", {"train": 3, "test": 1}, ["cat", "ant"], size=(5, 3))
    data = ImageFolderDataModule(str(folder), val_fraction=0.34)
    spread = (35 / 12) ** 0.5 / 255  # red is 1 ... 6, green twice and blue 255 less that
    assert data.data_spec["dataset"] == "pets"
    assert data.data_spec["num_classes"] == 2
    assert data.data_spec["image_shape"] == (3, 3, 5)
    assert data.data_spec["mean"] == pytest.approx((3.5 / 255, 7 / 255, 1 - 3.5 / 255), abs=1e-4)
    assert data.data_spec["std"] == pytest.approx((spread, 2 * spread, spread), abs=1e-4)
    data.setup("fit")
    assert data.class_names == ["ant", "cat"]
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (4, 2, 2)
    images = torch.cat([data.train_set.images, data.val_set.images])
    labels = torch.cat([data.train_set.labels, data.val_set.labels])
    assert images.dtype == torch.uint8
    assert images.shape == (6, 3, 3, 5)
    found = {(image[0, 0, 0].item(), label) for image, label in zip(images, labels.tolist(), strict=True)}
    assert found == {(1, 1), (2, 1), (3, 1), (4, 0), (5, 0), (6, 0)}
    assert data.test_set.images[:, :, 0, 0].tolist() == [[8, 16, 247], [7, 14, 248]]
    assert data.test_set.labels.tolist() == [0, 1]


def test_folders_of_classes_alone_are_split_by_ratio(tmp_path):
    folder = image_folder(tmp_path, {".": 10}, ["a", "b"])
    data = ImageFolderDataModule(str(folder), split="70:30", mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    data.setup("fit")
    assert len(data.test_set) == 6
    assert data.data_spec["mean"] == (0.1, 0.2, 0.3)
    with pytest.raises(ValueError, match="no official split"):
        ImageFolderDataModule(str(folder)).setup("fit")


def test_a_validation_part_of_its_own(tmp_path):
    folder = image_folder(tmp_path, {"train": 6, "val": 2, "test": 3}, ["a", "b"])
    data = ImageFolderDataModule(str(folder))
    data.setup("fit")
    assert [len(each) for each in (data.train_set, data.val_set, data.test_set)] == [12, 4, 6]
    assert data.val_set.images[:, 0, 0, 0].tolist() == [13, 14, 15, 16]
    assert data.val_set.labels.tolist() == [0, 0, 1, 1]


def test_parts_that_are_missing_or_ambiguous(tmp_path):
    folder = image_folder(tmp_path / "x", {"val": 2, "test": 3}, ["a", "b"])
    with pytest.raises(FileNotFoundError, match="x has val and test, but no train"):
        ImageFolderDataModule(str(folder))
    folder = image_folder(tmp_path / "y", {"train": 2, "val": 3}, ["a", "b"])
    data = ImageFolderDataModule(str(folder), split="70:30")
    data.setup("fit")
    assert len(data.val_set) == 6
    with pytest.raises(ValueError, match="no official split"):
        ImageFolderDataModule(str(folder)).setup("fit")
    folder = image_folder(tmp_path / "z", {"train": 2, "test": 1}, ["Cat", "ant", "cat"])
    with pytest.raises(ValueError, match="z/train has classes that differ in case only: Cat, cat"):
        ImageFolderDataModule(str(folder))


def test_decoded_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    folder = image_folder(tmp_path, {"train": 3, "test": 1}, ["a", "b"])
    first = ImageFolderDataModule(str(folder))
    read = []
    monkeypatch.setattr(
        decoding, "open_rgb", lambda file, size, read_file=open_rgb: read.append(file) or read_file(file, size)
    )
    monkeypatch.chdir(folder.parent)
    again = ImageFolderDataModule(folder.name)  # spelled differently
    assert not read
    assert torch.equal(first.load()[0].images, again.load()[0].images)
    changed = folder / "train" / "b" / "1.png"
    Image.new("RGB", (32, 32), (200, 0, 0)).save(changed)
    os.utime(changed, ns=(1, 1))
    images = ImageFolderDataModule(str(folder)).load()[0].images
    assert len(set(read)) == 6  # of train; test is as it was
    assert images[4, :, 0, 0].tolist() == [200, 0, 0]


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    folder = image_folder(tmp_path, {"train": 1}, ["a"])
    monkeypatch.setattr(decoding.os, "access", lambda *_: False)
    files = list((folder / "train" / "a").iterdir())
    with pytest.warns(UserWarning, match="cannot be written to"):
        images = decode_to_file(files, folder / "cache").array
    assert images[0, :, 0, 0].tolist() == [1, 2, 254]
    assert not list(folder.glob("cache*"))


def test_grey_and_resized(tmp_path):
    Image.fromarray(np.full((4, 8), 77, np.uint8)).save(tmp_path / "grey.png")
    Image.new("RGBA", (6, 6), (1, 2, 3, 255)).save(tmp_path / "transparent.png")
    files = [tmp_path / "grey.png", tmp_path / "transparent.png"]
    images = decode_to_file(files, tmp_path / "cache", image_size=5).array
    assert images.shape == (2, 3, 5, 5)
    assert np.unique(images[0]).tolist() == [77]
    assert images[1, :, 2, 2].tolist() == [1, 2, 3]


class TestUnreadable:
    """Files that are no images, up to a share."""

    def broken(self, tmp_path, *bad):
        folder = image_folder(tmp_path, {"train": 10}, ["a", "b"])
        for name in bad:
            (folder / "train" / name).write_bytes(b"nothing")
        return folder

    @pytest.mark.parametrize("group", [2**21, 3 * 32 * 32 * 3])  # one process, and several
    def test_they_are_named_and_left_out(self, tmp_path, monkeypatch, group):
        monkeypatch.setattr(decoding, "GROUP_BYTES", group)
        folder = self.broken(tmp_path, "a/0.png", "b/7.png")
        with pytest.warns(UserWarning, match=r"2 of 20 files are left out: .*a/0\.png is no image.*; .*b/7\.png"):
            data = ImageFolderDataModule(str(folder), split="80:20", max_unreadable=0.1)
        train = data.load()[0]
        assert train.images[:, 0, 0, 0].tolist() == [*range(2, 18), 19, 20]  # images have a number from 1
        assert train.labels.tolist() == [0] * 9 + [1] * 9
        with pytest.warns(UserWarning, match=r"2 of 20 files .*; all of them are in .*/train/\.decoded\.txt"):
            again = ImageFolderDataModule(str(folder), split="80:20", max_unreadable=0.1)
        assert torch.equal(again.load()[0].images, train.images)
        assert (folder / "train" / ".decoded.txt").read_text().count("is no image that can be read") == 2

    def test_more_than_the_share(self, tmp_path):
        folder = self.broken(tmp_path, "a/3.png", "b/7.png")
        for _ in range(2):
            with pytest.raises(ValueError, match=r"a/3\.png is no .*; 2 of 20 files .*, more than a share of 0\.05"):
                ImageFolderDataModule(str(folder), split="80:20", max_unreadable=0.05)
        with pytest.warns(UserWarning, match="left out"):
            ImageFolderDataModule(str(folder), split="80:20", max_unreadable=0.5)
        with pytest.raises(ValueError, match=r"more than a share of 0\.05"):  # of an array that is there
            ImageFolderDataModule(str(folder), split="80:20", max_unreadable=0.05)

    def test_none_can_be_read(self, tmp_path):
        folder = self.broken(tmp_path, *(f"{name}/{number}.png" for name in ("a", "b") for number in range(10)))
        with pytest.raises(ValueError, match=r"a/0\.png is no image that can be read"):
            ImageFolderDataModule(str(folder), split="80:20", max_unreadable=0.9)
        with pytest.raises(ValueError, match=r"max_unreadable must be in \[0, 1\), got 1"):
            ImageFolderDataModule(str(folder), max_unreadable=1)


def test_photographs_are_cut_around_their_middle_and_upright(tmp_path):
    """A red, a green and a blue square side by side: the green one is left. Of a photograph on its side too."""
    image = Image.new("RGB", (60, 20), (255, 0, 0))
    image.paste((0, 255, 0), (20, 0, 40, 20))
    image.paste((0, 0, 255), (40, 0, 60, 20))
    image.save(tmp_path / "wide.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=turned)
    files = [tmp_path / "wide.png", tmp_path / "turned.png"]
    images = decode_to_file(files, tmp_path / "cache", image_size=10).array
    assert images[:, :, 5, 5].tolist() == [[0, 255, 0]] * 2
    assert (images[:, 1].mean(axis=(1, 2)) > 240).all()
    upright = decode_to_file(files[1:], tmp_path / "other").array
    assert upright.shape == (1, 3, 60, 20)
    assert upright[0, :, 5, 5].tolist() == [255, 0, 0]


class TestRefused:
    def test_no_images(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"expected images in .*nowhere/<class>/, .* found 0 images of 0"):
            ImageFolderDataModule(str(tmp_path / "nowhere"))

    def test_a_file_that_is_no_image(self, tmp_path):
        folder = image_folder(tmp_path, {"train": 2}, ["a", "b"])
        (folder / "train" / "a" / "0.png").write_bytes(b"nothing")
        with pytest.raises(ValueError, match=r"a/0.png is no image that can be read"):
            ImageFolderDataModule(str(folder), split="80:20")
        assert not (folder / "train" / ".decoded.npy").exists()

    def test_sizes_that_differ(self, tmp_path):
        folder = image_folder(tmp_path, {"train": 2}, ["a", "b"])
        Image.new("RGB", (8, 4)).save(folder / "train" / "b" / "1.png")
        with pytest.raises(ValueError, match=r"b/1.png has 8 x 4 pixels and .*a/0.png 32 x 32; give data.image_size"):
            ImageFolderDataModule(str(folder), split="80:20")
        assert ImageFolderDataModule(str(folder), split="80:20", image_size=16).image_shape == (3, 16, 16)

    def test_sizes_that_differ_between_splits(self, tmp_path):
        folder = image_folder(tmp_path, {"train": 2}, ["a", "b"])
        for name in "ab":
            (folder / "test" / name).mkdir(parents=True)
            Image.new("RGB", (16, 8)).save(folder / "test" / name / "0.png")
        with pytest.raises(ValueError, match=r"train have \[32, 32\] pixels, .*/test \[8, 16\]; give image_size"):
            ImageFolderDataModule(str(folder), mean=(0.5,) * 3, std=(0.5,) * 3)
        assert ImageFolderDataModule(str(folder), image_size=16).image_shape == (3, 16, 16)

    def test_classes_that_differ(self, tmp_path):
        image_folder(tmp_path, {"train": 2}, ["a", "b"])
        image_folder(tmp_path, {"test": 2}, ["a", "c"])
        with pytest.raises(ValueError, match="have other classes: b, c"):
            ImageFolderDataModule(str(tmp_path))


@pytest.mark.parametrize("blue", [0, 77, 101, 255])  # whose rounding errors differ
def test_a_channel_of_one_value_is_refused_unless_its_deviation_is_given(tmp_path, blue):
    """Else an image would be divided by 0."""
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / place).mkdir(parents=True)
        for red in range(10):
            Image.new("RGB", (4, 4), (red, 20 + 2 * red, blue)).save(tmp_path / place / f"{red}.png")
    with pytest.raises(
        ValueError, match=r"std: channel 3 of 3 of the training images has one value .*; give data\.std"
    ):
        ImageFolderDataModule(str(tmp_path))
    assert ImageFolderDataModule(str(tmp_path), std=(0.1, 0.1, 1.0)).mean[2] == pytest.approx(blue / 255, abs=1e-4)
    assert ImageFolderDataModule(str(tmp_path), normalise=False).std == (1, 1, 1)
