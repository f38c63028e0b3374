"""The official files of MNIST: their format, what is verified of them, and how a missing one is fetched."""

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
        with pytest.raises(OSError, match="train-images-idx3-ubyte is not the official file"):
            MNISTDataModule(root=str(mnist_root), val_fraction=0.2).prepare_data()

    def test_test_images_in_the_place_of_training_images_are_noticed(self, mnist_root):
        raw = mnist_root / "MNIST/raw"
        (raw / "train-images-idx3-ubyte").write_bytes((raw / "t10k-images-idx3-ubyte").read_bytes())
        with pytest.raises(OSError, match="is not the official file"):
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
    monkeypatch.setattr(MNISTDataModule.dataset, "download", lambda self: fetched.append(self.root))
    MNISTDataModule(root=str(mnist_root)).download()
    assert not fetched
    (mnist_root / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte is not the official file"):
        MNISTDataModule(root=str(mnist_root)).download()
    assert fetched == [str(mnist_root)]
