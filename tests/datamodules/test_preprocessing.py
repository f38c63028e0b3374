"""Image size, mean and standard deviation: given, or those of a network."""

import pytest
import torch
from helpers.commands import TINY_DATA, TINY_TRAINER, image_folder, run_cli
from torch.nn import functional as F

from datamodules import DigitsDataModule, ImageFolderDataModule, NoImages
from datamodules.preprocessing import Preprocessing, preprocessing_of
from datamodules.tensors import TensorImages

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TestSources:
    def test_torchvision_and_timm(self):
        assert preprocessing_of("torchvision/ResNet18_Weights.IMAGENET1K_V1") == Preprocessing((3, 224, 224), *IMAGENET)
        pytest.importorskip("timm")
        assert preprocessing_of("timm/inception_v3.tf_in1k") == Preprocessing((3, 299, 299), (0.5,) * 3, (0.5,) * 3)

    def test_a_checkpoint(self, teacher_ckpt):
        digits = DigitsDataModule()
        assert preprocessing_of(str(teacher_ckpt)) == Preprocessing((1, 16, 16), digits.mean, digits.std)

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("torchvision/Nope", "data.preprocessing_of: Invalid weight name provided: 'Nope'"),
            ("torchvision/FCN_ResNet50_Weights.DEFAULT", "are no weights of a classifier"),
            ("timm/nope", "timm has no weights 'nope'"),
            ("nowhere", "data.preprocessing_of: no checkpoint at nowhere"),
        ],
    )
    def test_unknown(self, source, said):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            preprocessing_of(source)

    def test_weights_alone_do_not_say(self, tmp_path):
        torch.save({"a.weight": torch.ones(1)}, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=r"a\.pth does not say; give data\.mean and data\.std"):
            preprocessing_of(str(tmp_path / "a.pth"))

    def test_only_squares(self):
        with pytest.raises(ValueError, match="its images are 2 x 3, and only squares"):
            _ = Preprocessing((3, 2, 3), *IMAGENET).side


class TestTakenOver:
    def test_by_a_folder(self, tmp_path):
        """Images of 5 x 3 pixels are cut to the square; what is given stands."""
        folder = image_folder(tmp_path / "pets", {"train": 3, "test": 1}, ["cat", "ant"], size=(5, 3))
        source = "torchvision/ResNet18_Weights.IMAGENET1K_V1"
        data = ImageFolderDataModule(str(folder), preprocessing_of=source, std=(0.1, 0.2, 0.3), val_fraction=0.34)
        data.setup("fit")
        assert (data.image_shape, data.mean, data.std) == ((3, 224, 224), IMAGENET[0], (0.1, 0.2, 0.3))
        assert data.train_set.images.shape == (4, 3, 224, 224)
        smaller = ImageFolderDataModule(str(folder), preprocessing_of=source, image_size=4)
        assert (smaller.image_shape, smaller.std) == ((3, 4, 4), IMAGENET[1])

    def test_by_data_of_another_size(self, teacher_ckpt):
        data = DigitsDataModule(image_size=8, preprocessing_of=str(teacher_ckpt))
        assert data.data_spec == DigitsDataModule().data_spec

    def test_of_other_channels(self):
        with pytest.raises(ValueError, match="mean needs a number for each of 1 channels"):
            DigitsDataModule(preprocessing_of="torchvision/ResNet18_Weights.IMAGENET1K_V1")

    def test_where_there_are_no_images(self, teacher_ckpt):
        data = NoImages(10, preprocessing_of=str(teacher_ckpt), std=(0.5,))
        assert (data.image_shape, data.mean, data.std) == ((1, 16, 16), DigitsDataModule.mean, (0.5,))
        with pytest.raises(ValueError, match="image_shape, mean and std must be given, or preprocessing_of"):
            NoImages(10, mean=(0.5,), std=(0.5,))


class TestResized:
    def test_batches(self):
        images = torch.arange(5 * 3 * 4 * 4, dtype=torch.uint8).view(5, 3, 4, 4)
        data = TensorImages(images, torch.arange(5)).resized(7)
        expected = F.interpolate(images.float(), (7, 7), mode="bilinear", antialias=True)
        x, y = data.__getitems__([3, 1])
        assert (x.dtype, x.shape, y.tolist()) == (torch.uint8, (2, 3, 7, 7), [3, 1])
        torch.testing.assert_close(x.float(), expected[[3, 1]], atol=1, rtol=0)  # rounded
        part = data.subset(torch.tensor([4, 2]))
        assert (part.labels.tolist(), len(part)) == ([4, 2], 2)
        assert torch.equal(part.images, data.images[[4, 2]])
        assert torch.equal(part[1][0], data[2][0])
        assert torch.equal(part.copy().images, part.images)

    def test_every_part_and_the_facts(self):
        data = DigitsDataModule(preprocessing_of=None, image_size=8)
        assert data.image_shape == (1, 8, 8)
        enlarged = NumberedDigits(image_size=12)
        enlarged.setup("fit")
        assert enlarged.data_spec["image_shape"] == (1, 12, 12)
        for part in (enlarged.train_set, enlarged.val_set, enlarged.test_set):
            assert part[0][0].shape == (1, 12, 12)
        with pytest.raises(ValueError, match="image_size must be at least 1"):
            NumberedDigits(image_size=0)

    def test_a_run(self):
        """A network that takes 32 x 32 pixels at least learns from digits of 16 x 16."""
        words = ["--model=ClassificationTask", "--model.network=ResNet", "--model.network.stem=imagenet"]
        words += ["--model.network.depth=10", "--model.network.width=4", *TINY_DATA, *TINY_TRAINER]
        run_cli("fit", *words, "--data=test_preprocessing.NumberedDigits", "--data.image_size=32",
                "--trainer.max_epochs=1")  # fmt: skip


class NumberedDigits(DigitsDataModule):
    """As any set of one size, which leaves `image_size` to ImageDataModule."""

    def __init__(self, image_size: int | None = None, **options) -> None:
        self.image_shape = self._enlarged = (1, 16, 16)
        super(DigitsDataModule, self).__init__(split="80:20", image_size=image_size, **options)
