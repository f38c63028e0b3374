"""What is remembered of verified files, and when they are read again."""

import hashlib
import json
import os
from unittest import mock

import pytest
from helpers.commands import refused

from datamodules import CIFAR10DataModule, CIFAR100DataModule
from datamodules.verified import require_official, state


@pytest.fixture
def files(tmp_path):
    """Two files in a folder, and their MD5."""
    for name, content in (("a", b"first"), ("b", b"second")):
        (tmp_path / name).write_bytes(content)
    return {tmp_path / name: hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in ("a", "b")}


def read_again(root, files):
    """Names of the files whose content is looked at."""
    seen = []

    def digest(file, name):
        seen.append(os.path.basename(file.name))
        return hashlib.md5(file.read())

    with mock.patch("hashlib.file_digest", digest):
        require_official(root, files)
    return seen


def test_a_file_is_read_once_until_it_changes(tmp_path, files):
    assert read_again(tmp_path, files) == ["a", "b"]
    assert read_again(tmp_path, files) == []
    os.utime(tmp_path / "b", ns=(0, 10**18))
    assert read_again(tmp_path, files) == ["b"]
    assert read_again(tmp_path, files) == []
    files[tmp_path / "a"] = "0" * 32  # another edition is official now
    with pytest.raises(ValueError, match=r"/a is not the official file .*0{32}.*remove it"):
        require_official(tmp_path, files)


def test_other_content_is_refused_each_time(tmp_path, files):
    require_official(tmp_path, files)
    (tmp_path / "b").write_bytes(b"Second")
    for _ in range(2):
        with pytest.raises(ValueError, match="/b is not the official file"):
            require_official(tmp_path, files)
    assert list(json.loads((tmp_path / ".verified.json").read_text())) == ["a", "b"]


def test_each_of_four_numbers_tells_files_apart():
    """Of files that were unpacked together all but the inode may be equal."""
    numbers = {"st_size": 1, "st_mtime_ns": 2, "st_ctime_ns": 3, "st_ino": 4}
    states = [state(mock.Mock(**numbers | {name: 5})) for name in numbers]
    assert all(each != state(mock.Mock(**numbers)) for each in states)


@pytest.mark.parametrize("how", ["written", "replaced", "swapped"])
def test_other_content_of_equal_size_and_time_is_refused(tmp_path, files, how):
    (tmp_path / "c").write_bytes(b"third")
    for name in "abc":
        os.utime(tmp_path / name, (1, 1))
    require_official(tmp_path, files)
    if how == "written":
        (tmp_path / "a").write_bytes(b"thirD")
    else:
        if how == "swapped":
            (tmp_path / "a").rename(tmp_path / "d")
        (tmp_path / "c").rename(tmp_path / "a")
    os.utime(tmp_path / "a", (1, 1))
    with pytest.raises(ValueError, match="/a is not the official file"):
        require_official(tmp_path, files)


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "no JSON"])
def test_a_memory_that_is_damaged_is_made_anew(content, tmp_path, files):
    (tmp_path / ".verified.json").write_text(content)
    assert read_again(tmp_path, files) == ["a", "b"]
    assert read_again(tmp_path, files) == []


def test_a_root_that_cannot_be_written(tmp_path, files):
    with mock.patch("os.replace", side_effect=PermissionError):
        assert read_again(tmp_path, files) == ["a", "b"]
        assert read_again(tmp_path, files) == ["a", "b"]


@pytest.mark.parametrize("module", [CIFAR10DataModule, CIFAR100DataModule])
@pytest.mark.parametrize("part", ["train", "test", "meta"])
def test_a_flipped_bit_in_cifar(module, part, cifar_root, tmp_path):
    file = cifar_root / module.dataset.base_folder / (module.dataset.meta["filename"] if part == "meta" else part)
    words = ["fit", "--model=ClassificationTask", "--model.network=CNN", f"--data={module.__name__}"]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    line = refused(tmp_path, *words, f"--data.root={cifar_root}")
    assert f"{file} is not the official file" in line
    assert "download" not in line


def test_test_files_in_the_place_of_training_files(cifar_root, tmp_path):
    folder = cifar_root / CIFAR10DataModule.dataset.base_folder
    (folder / "train").write_bytes((folder / "test").read_bytes())
    with pytest.raises(ValueError, match="/train is not the official file"):
        CIFAR10DataModule(root=str(cifar_root)).prepare_data()
