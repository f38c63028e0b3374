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


PACKINGS = {
    "dots": lambda root, name, content: (root / f"MNIST/raw/{name.replace('-idx', '.idx')}", content),
    "packed again": lambda root, name, content: (root / f"MNIST/raw/{name}.gz", gzip.compress(content, 1)),
    "not in raw": lambda root, name, content: (root / f"MNIST/{name}", content),
    "in the root": lambda root, name, content: (root / f"{name.replace('-idx', '.idx')}.gz", gzip.compress(content)),
    "folders of Kaggle": lambda root, name, content: (root / f"mnist/{name}/{name}", content),
    "dotted folders": lambda root, name, content: (
        root / f"MNIST/{name.replace('-idx', '.idx')}/{name.replace('-idx', '.idx')}",
        content,
    ),
}


@pytest.fixture
def no_network(monkeypatch):
    def fetch(self):
        raise RuntimeError("no network")

    monkeypatch.setattr(MNISTDataModule.dataset, "download", fetch)


def repack(root, packing, change=lambda name, content: content):
    for file in list((root / "MNIST/raw").iterdir()):
        content = file.read_bytes()
        file.unlink()
        path, content = PACKINGS[packing](root, file.name, change(file.name, content))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("packing", PACKINGS)
def test_official_content_in_other_packings(mnist_root, packing):
    expected = (mnist_root / "MNIST/raw/t10k-images-idx3-ubyte").read_bytes()[16:]
    repack(mnist_root, packing)
    data = MNISTDataModule(root=str(mnist_root), val_fraction=0.2)
    data.prepare_data()
    assert data.test_set.images.numpy().tobytes() == expected
    assert data.test_set.labels[:12].tolist() == [*range(10), 0, 1]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("packing", ["dots", "packed again", "folders of Kaggle"])
@pytest.mark.parametrize("cut", [1, 2000])
def test_other_content_in_other_packings_is_named(mnist_root, packing, cut):
    """As of another set of the same names, or of a file cut short."""
    repack(mnist_root, packing, lambda name, content: content[:-cut] if name == "t10k-images-idx3-ubyte" else content)
    name = PACKINGS[packing](mnist_root, "t10k-images-idx3-ubyte", b"")[0]
    with pytest.raises(OSError, match=f"what is there, {name}, does not have the content of the official files"):
        MNISTDataModule(root=str(mnist_root), val_fraction=0.2).prepare_data()


@pytest.mark.usefixtures("no_network")
def test_an_archive_cut_short_is_named(mnist_root):
    repack(mnist_root, "packed again")
    archive = mnist_root / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(OSError, match=rf"what is there, {archive}, does not have"):
        MNISTDataModule(root=str(mnist_root), val_fraction=0.2).prepare_data()


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
