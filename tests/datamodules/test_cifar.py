"""CIFAR-10 and CIFAR-100: download, verification and other packings."""

import functools
import hashlib
import http.server
import multiprocessing
import pickle
import tarfile
import threading

import numpy as np
import pytest
import torch
from helpers.commands import superclasses
from torch.nn import functional as F
from torchvision import datasets

from datamodules import (
    CIFAR10DataModule,
    CIFAR100DataModule,
)


def cifar_archive(folder, monkeypatch, module, fetched=None):
    """A small archive in the official format, with the checksums of the torchvision class patched to it."""
    base = folder / "made" / module.dataset.base_folder
    base.mkdir(parents=True)
    generator = np.random.default_rng(0)
    fine = module.num_classes == 100
    lists = {"train_list": [], "test_list": []}
    for key, count in (("train_list", 4), ("test_list", 2)):
        for name, _ in getattr(module.dataset, key):
            labels = list(range(module.num_classes)) * count
            images = generator.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
            content = {"data": images, "fine_labels" if fine else "labels": labels, "coarse_labels": labels}
            (base / name).write_bytes(pickle.dumps(content))
            lists[key].append([name, hashlib.md5((base / name).read_bytes()).hexdigest()])
    meta = dict(module.dataset.meta)
    names = [f"class {index}" for index in range(module.num_classes)]
    (base / meta["filename"]).write_bytes(pickle.dumps({meta["key"]: names, "coarse_label_names": names}))
    meta["md5"] = hashlib.md5((base / meta["filename"]).read_bytes()).hexdigest()
    archive = folder / module.dataset.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(base, arcname=module.dataset.base_folder)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            if fetched is not None:
                fetched.append(self.command)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(module.dataset, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
    monkeypatch.setattr(module.dataset, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(module.dataset, "meta", meta)
    for key, value in lists.items():
        monkeypatch.setattr(module.dataset, key, value)


def test_cifar_in_another_packaging_is_named_where_the_download_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/nothing")
    with pytest.raises(OSError, match=r"the download failed \(URLError: [^;]*\)\. Remove"):
        CIFAR10DataModule(root=str(tmp_path)).prepare_data()
    for name in ("CIFAR10.npz", "cifar100.npz", "cifar10_resnet20.pth"):
        (tmp_path / name).touch()
    with pytest.raises(OSError, match=r"what is there, \S*/CIFAR10\.npz, are not the official") as error:
        CIFAR10DataModule(root=str(tmp_path)).prepare_data()
    assert "ImageArraysDataModule .npz and .npy" in str(error.value)


@pytest.mark.parametrize("module", [CIFAR10DataModule, CIFAR100DataModule])
def test_cifar_is_downloaded_verified_and_read(module, tmp_path, monkeypatch):
    cifar_archive(tmp_path, monkeypatch, module)
    data = module(root=str(tmp_path / "root"), val_fraction=0.25)
    data.prepare_data()
    assert len(data.train_set) + len(data.val_set) == 4 * module.num_classes * len(module.dataset.train_list)
    assert len(data.test_set) == 2 * module.num_classes
    assert data.train_set.images.shape[1:] == data.image_shape
    assert data.class_names[3] == "class 3"
    assert module.mean != (CIFAR100DataModule if module is CIFAR10DataModule else CIFAR10DataModule).mean


@pytest.mark.parametrize("module", [CIFAR10DataModule, CIFAR100DataModule])
@pytest.mark.parametrize("packing", ["nested", "in the root", "of the name", "tar", "tar.xz in another folder"])
def test_official_files_of_cifar_in_other_packings(module, packing, tmp_path, monkeypatch):
    fetched = []
    cifar_archive(tmp_path, monkeypatch, module, fetched)
    root, base = tmp_path / "root", module.dataset.base_folder
    root.mkdir()
    archive = next(tmp_path.glob("*.tar.gz"))
    with tarfile.open(archive) as official:
        if packing.startswith("tar"):
            official.extractall(tmp_path / "out", filter="data")
            name, kind = (archive.stem, "w") if packing == "tar" else (f"{archive.stem}.xz", "w:xz")
            with tarfile.open(root / name, kind) as tar:
                tar.add(tmp_path / "out" / base, arcname="elsewhere" if "folder" in packing else base)
        else:
            place = {"nested": root / base, "in the root": tmp_path, "of the name": tmp_path}[packing]
            official.extractall(place, filter="data")
            if packing == "in the root":
                root.rmdir()
            if packing != "nested":
                (place / base).rename(root if packing == "in the root" else root / module.dataset.__name__.lower())
    data = module(root=str(root), val_fraction=0.25)
    data.prepare_data()
    assert len(data.test_set) == 2 * module.num_classes
    assert data.class_names[3] == "class 3"
    assert not fetched


def test_a_full_disk_while_cifar_is_unpacked_is_said(tmp_path, monkeypatch):
    fetched = []
    cifar_archive(tmp_path, monkeypatch, CIFAR10DataModule, fetched)

    def full(path, content):
        raise OSError(f"{path}: no room")

    monkeypatch.setattr("datamodules.cifar.write_atomic", full)
    with pytest.raises(OSError, match=r"cifar-10-batches-py/[\w.]+: no room"):
        CIFAR10DataModule(root=str(tmp_path)).prepare_data()
    assert not fetched


def test_a_damaged_archive_of_cifar_is_fetched(tmp_path, monkeypatch):
    fetched = []
    cifar_archive(tmp_path, monkeypatch, CIFAR10DataModule, fetched)
    archive, root = next(tmp_path.glob("*.tar.gz")), tmp_path / "root"
    root.mkdir()
    content = archive.read_bytes()
    (root / archive.name).write_bytes(content[: len(content) // 2])
    CIFAR10DataModule(root=str(root), val_fraction=0.25).prepare_data()
    assert "GET" in fetched


def test_channels_rows_and_columns_of_cifar(cifar_root):
    data = CIFAR100DataModule(root=str(cifar_root), val_fraction=0.25)
    data.prepare_data()
    image = data.test_set.images[0]
    for channel, row, column in ((0, 0, 1), (0, 5, 0), (1, 0, 0), (2, 31, 31), (1, 7, 8)):
        assert image[channel, row, column] == 90 * channel + 2 * row + column % 2


@pytest.mark.parametrize("side", [16, 64])
def test_resized_images_of_cifar(cifar_root, side):
    whole = CIFAR100DataModule(root=str(cifar_root), val_fraction=0.25)
    data = CIFAR100DataModule(root=str(cifar_root), val_fraction=0.25, image_size=side)
    for each in (whole, data):
        each.prepare_data()
    assert data.data_spec["image_shape"] == (3, side, side)
    assert data.test_set.images.shape == (len(whole.test_set), 3, side, side)
    assert torch.equal(data.test_set.labels, whole.test_set.labels)
    expected = F.interpolate(whole.test_set.images, (side, side), mode="bilinear", antialias=True)
    assert torch.equal(data.test_set.images, expected)


def test_superclasses_of_cifar_100_are_those_in_its_files(cifar_root):
    data = CIFAR100DataModule(root=str(cifar_root), val_fraction=0.25)
    assert data.class_levels == {}  # not known before anything is read
    data.prepare_data()
    assert data.class_levels == {"superclass": [superclasses()[7 * label % 20] for label in range(100)]}


def prepare(root):
    torch.set_num_threads(1)
    data = CIFAR10DataModule(root=root, val_fraction=0.25)
    data.prepare_data()
    return len(data.test_set)


def test_two_runs_share_one_download(tmp_path, monkeypatch):
    fetched = []
    cifar_archive(tmp_path, monkeypatch, CIFAR10DataModule, fetched)
    assert prepare(str(tmp_path / "alone")) == 20
    requests_of_one = len(fetched)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sizes = pool.map(prepare, [str(tmp_path / "root")] * 2)
    assert sizes == [20, 20]
    assert len(fetched) == 2 * requests_of_one > 0
