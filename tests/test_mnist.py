"""The official files of MNIST: their format, what is verified of them, and how a missing one is fetched."""

import gzip
from hashlib import md5

import pytest
import torch

from datamodules import FashionMNISTDataModule, MNISTDataModule


@pytest.mark.parametrize("module", [MNISTDataModule, FashionMNISTDataModule])
def test_mnist_format(module, mnist_root):
    if module is FashionMNISTDataModule:
        (mnist_root / "MNIST").rename(mnist_root / "FashionMNIST")
    data = module(root=str(mnist_root), val_fraction=0.2)
    data.prepare_data()
    assert len(data.train_set) == 160
    assert len(data.class_names) == 10


class TestContentOfMNIST:
    """What is read is what the official files hold."""

    def test_a_flipped_bit_is_noticed(self, mnist_root):
        file = mnist_root / "MNIST/raw/train-images-idx3-ubyte"
        content = bytearray(file.read_bytes())
        content[1000] ^= 1
        file.write_bytes(content)
        with pytest.raises(ValueError, match="train-images-idx3-ubyte is not the official file"):
            MNISTDataModule(root=str(mnist_root), val_fraction=0.2).prepare_data()

    def test_test_images_in_the_place_of_training_images_are_noticed(self, mnist_root):
        raw = mnist_root / "MNIST/raw"
        (raw / "train-images-idx3-ubyte").write_bytes((raw / "t10k-images-idx3-ubyte").read_bytes())
        with pytest.raises(ValueError, match="is not the official file"):
            MNISTDataModule(root=str(mnist_root), val_fraction=0.2).prepare_data()

    def test_processed_files_of_old_torchvision_are_not_read(self, mnist_root):
        folder = mnist_root / "MNIST/processed"
        folder.mkdir()
        for name in ("training.pt", "test.pt"):
            torch.save((torch.zeros(50, 28, 28, dtype=torch.uint8), torch.arange(50) % 10), folder / name)
        data = MNISTDataModule(root=str(mnist_root), val_fraction=0.2)
        data.prepare_data()
        assert len(data.train_set) == 160
        assert data.train_set.images.float().std() > 0

    def test_pixels_are_in_their_place(self, mnist_root):
        data = MNISTDataModule(root=str(mnist_root), val_fraction=0.2)
        data.prepare_data()
        content = (mnist_root / "MNIST/raw/t10k-images-idx3-ubyte").read_bytes()[16:]
        assert data.test_set.images[3, 0, 5, 9] == content[3 * 784 + 5 * 28 + 9]
        assert data.test_set.labels[:12].tolist() == [*range(10), 0, 1]


def test_a_missing_file_of_mnist_is_fetched(mnist_root, monkeypatch):
    """One of four is enough; with all four there is no fetching."""
    fetched = []
    labels = mnist_root / "MNIST/raw/t10k-labels-idx1-ubyte"
    content = labels.read_bytes()

    def fetch(self):
        fetched.append(self.root)
        labels.write_bytes(content)

    monkeypatch.setattr(MNISTDataModule.dataset, "download", fetch)
    MNISTDataModule(root=str(mnist_root)).fetch()
    assert not fetched
    labels.unlink()
    MNISTDataModule(root=str(mnist_root)).fetch()
    assert fetched == [str(mnist_root)]


def test_a_set_without_known_checksums_is_compared_with_its_archive(mnist_root, monkeypatch):
    """FashionMNIST's, and not with an archive that is not official itself."""
    (mnist_root / "MNIST").rename(mnist_root / "FashionMNIST")
    data = FashionMNISTDataModule(root=str(mnist_root), val_fraction=0.2)
    with pytest.warns(UserWarning, match="cannot be verified without"):
        assert data.checksums() == {}
    file = data.raw / "t10k-labels-idx1-ubyte"
    archive = data.raw / f"{file.name}.gz"
    archive.write_bytes(gzip.compress(file.read_bytes()))
    resources = [(name, md5(archive.read_bytes()).hexdigest()) for name, _ in FashionMNISTDataModule.dataset.resources]
    monkeypatch.setattr(FashionMNISTDataModule.dataset, "resources", resources)
    with pytest.warns(UserWarning, match="cannot be verified without"):
        assert data.checksums() == {file: md5(file.read_bytes()).hexdigest()}
    data.fetch()
    file.write_bytes(file.read_bytes()[:-1] + b"\7")
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte is not the official file"):
        data.fetch()
