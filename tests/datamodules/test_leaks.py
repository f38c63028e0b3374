"""Images that are in two parts."""

import pytest
import torch
from helpers.commands import TINY_TEACHER, image_folder, refusal

from datamodules.leaks import LARGEST, require_apart
from datamodules.tensors import TensorImages


def part(*numbers, side=3):
    """Images of 3 * side * side bytes, which differ in the last byte alone."""
    images = torch.zeros(len(numbers), 3, side, side, dtype=torch.uint8)
    images[:, -1, -1, -1] = torch.tensor(numbers)
    return TensorImages(images, torch.zeros(len(numbers), dtype=torch.int64))


def test_one_in_ten_is_allowed():
    require_apart({"training": part(*range(30)), "validation": None, "test": part(*range(29, 39))})
    with pytest.raises(ValueError, match=r"^2 of 10 test images are training images too, bit for bit$"):
        require_apart({"training": part(*range(30)), "validation": None, "test": part(*range(28, 38))})


def test_every_two_parts_are_compared():
    with pytest.raises(ValueError, match="2 of 3 validation images are training images too"):
        require_apart({"training": part(1, 2, 3), "validation": part(2, 3, 4), "test": part(5)})
    with pytest.raises(ValueError, match="1 of 1 test images are validation images too"):
        require_apart({"training": part(1, 2, 3), "validation": part(4, 5), "test": part(5)})


def test_only_the_samples_of_a_part_count():
    both = part(*range(10))
    require_apart({"training": both.subset(torch.arange(5)), "test": both.subset(torch.arange(5, 10))})


def test_the_order_of_pixels_counts():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    images[0, 0, 0, 0] = images[1, 0, 0, 1] = images[1, 0, 3, 3] = 7
    images[0, 0, 3, 2] = 7
    first, second = (TensorImages(images[[index]], torch.zeros(1, dtype=torch.int64)) for index in range(2))
    require_apart({"training": first, "test": second})


def test_large_sets_are_not_read(monkeypatch):
    monkeypatch.setattr("datamodules.leaks.LARGEST", 2 * 27 - 1)
    require_apart({"training": part(1), "test": part(1)})
    monkeypatch.setattr("datamodules.leaks.LARGEST", 2 * 27)
    with pytest.raises(ValueError, match="1 of 1"):
        require_apart({"training": part(1), "test": part(1)})
    assert LARGEST > 60_000 * 3072


def test_a_folder_that_was_copied(tmp_path):
    image_folder(tmp_path / "images", {"train": 20}, ("bee", "cat"))
    (tmp_path / "images/train").rename(tmp_path / "images/test")
    image_folder(tmp_path / "images", {"train": 20}, ("bee", "cat"))
    words = [word for word in TINY_TEACHER if not word.startswith("--data")]
    line = refusal(tmp_path, "fit", *words, "--data=ImageFolderDataModule", "--data.folder=images")
    assert "40 of 40 test images are training images too, bit for bit" in line
