"""Random transforms of whole batches, and what they make of labels."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from datamodules import (
    BatchCutMix,
    BatchMixUp,
    BatchRandomCrop,
    BatchRandomFlip,
    DigitsDataModule,
    InGroups,
    ProgressiveResize,
)


class TestAugment:
    def test_crop_cuts_a_window_of_the_padded_image(self):
        x = torch.arange(1, 21, dtype=torch.uint8).view(1, 1, 4, 5).repeat(200, 2, 1, 1)
        out = BatchRandomCrop(padding=1)(x)
        padded = torch.nn.functional.pad(x[0], (1, 1, 1, 1))
        windows = {padded[:, i : i + 4, j : j + 5].numpy().tobytes() for i in range(3) for j in range(3)}
        assert {image.numpy().tobytes() for image in out} == windows

    def test_flip_mirrors_some_images(self):
        x = torch.rand(500, 3, 4, 4)
        out = BatchRandomFlip()(x)
        flipped = (out == x.flip(-1)).flatten(1).all(dim=1)
        kept = (out == x).flatten(1).all(dim=1)
        assert (flipped | kept).all()
        assert flipped.float().mean() == pytest.approx(0.5, abs=0.1)
        assert torch.equal(BatchRandomFlip(p=0.0)(x), x)
        assert torch.equal(BatchRandomFlip(p=1.0)(x), x.flip(-1))

    @pytest.mark.parametrize("padding", [1, 5])
    def test_first_crops_and_flips_are_given_bytes_and_make_the_same_images(self, padding):
        moves = [BatchRandomCrop(padding), BatchRandomFlip(), BatchRandomCrop(2)]
        x, y = DigitsDataModule().load()[0].images[:60], torch.arange(60) % 10
        made, given = [], []
        for move in moves:
            move.register_forward_pre_hook(lambda _, images: given.append(images[0].dtype))
        for first in ([], [lambda x: x]):  # after any other transform they are given floats
            data = DigitsDataModule(augment=[*first, *moves, BatchMixUp(0.5), BatchRandomFlip()])
            data.trainer = SimpleNamespace(training=True, lightning_module=SimpleNamespace(dtype=torch.float32))
            torch.manual_seed(0)
            made.append(data.on_after_batch_transfer((x, y), 0))
        assert given == [torch.uint8] * 3 + [torch.float32] * 3
        assert all(torch.equal(*pair) for pair in zip(*made, strict=True))
        assert made[0][0].is_contiguous()
        data.trainer.training = False
        assert torch.equal(data.on_after_batch_transfer((x, y), 0)[0], data.normalise(x.float() / 255))

    def test_kornia_fits_in(self):
        kornia = pytest.importorskip("kornia.augmentation")
        data = DigitsDataModule(augment=[kornia.RandomRotation(10.0, p=1.0)])
        data.trainer = SimpleNamespace(training=True, lightning_module=SimpleNamespace(dtype=torch.float32))
        raw = DigitsDataModule().load()[0].images[:4]
        x, _ = data.on_after_batch_transfer((raw, torch.zeros(4)), 0)
        assert x.shape == (4, 1, 16, 16)
        assert not torch.equal(x, data.normalise(raw.float() / 255))

    def test_only_training_is_augmented(self):
        def refuse(x):
            raise AssertionError("augmented")

        data = DigitsDataModule(augment=[refuse])
        x = torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.zeros(2)
        data.on_after_batch_transfer(x, 0)
        data.trainer = SimpleNamespace(training=True, lightning_module=SimpleNamespace(dtype=torch.float32))
        with pytest.raises(AssertionError, match="augmented"):
            data.on_after_batch_transfer(x, 0)

    def test_mixup_mixes_pixels_and_labels_alike(self):
        """Image n is n everywhere and its label class n, so that both tell who was mixed with whom, and how much."""
        x = torch.arange(200.0).view(-1, 1, 1, 1).expand(-1, 2, 4, 5)
        mixed, y = BatchMixUp(alpha=1.0, p=0.8)(x, torch.eye(200))
        assert torch.allclose(y.sum(dim=1), torch.ones(200))
        assert ((y > 0).sum(dim=1) <= 2).all()
        torch.testing.assert_close(
            mixed, (y @ torch.arange(200.0)).view(-1, 1, 1, 1).expand_as(x), rtol=1e-3, atol=1e-3
        )
        shares = y.diagonal()
        assert (shares == 1).float().mean() == pytest.approx(0.2, abs=0.1)
        assert shares[shares < 1].mean() == pytest.approx(0.5, abs=0.1)
        assert shares[shares < 1].std() == pytest.approx(12**-0.5, abs=0.05)  # even on [0, 1]

    def test_cutmix_pastes_a_box_and_counts_its_pixels(self):
        x = torch.arange(300.0).view(-1, 1, 1, 1).expand(-1, 2, 8, 16)
        mixed, y = BatchCutMix()(x, torch.eye(300))
        assert torch.allclose(y.sum(dim=1), torch.ones(300))
        assert torch.equal(mixed[:, 0], mixed[:, 1])
        ratios = []
        for number, image in enumerate(mixed[:, 0]):
            pasted = image != number
            if not pasted.any():
                continue
            other = image[pasted][0].item()
            assert y[number, number].item() == pytest.approx(1 - pasted.float().mean().item(), abs=1e-6)
            assert y[number, int(other)].item() == pytest.approx(pasted.float().mean().item(), abs=1e-6)
            rows, columns = pasted.any(dim=1), pasted.any(dim=0)
            assert torch.equal(pasted, rows[:, None] & columns[None, :])  # a box
            assert (image[pasted] == other).all()
            if not (rows[0] or rows[-1] or columns[0] or columns[-1]):
                ratios.append((columns.sum() / rows.sum()).item())
        assert sum(ratios) / len(ratios) == pytest.approx(2, abs=0.3)  # of the image's shape

    def test_a_small_alpha_leaves_most_images_nearly_unmixed(self):
        _, y = BatchMixUp(alpha=0.1)(torch.rand(500, 1, 2, 2), torch.eye(500))
        shares = y.diagonal()
        assert ((shares < 0.1) | (shares > 0.9)).float().mean() > 0.7

    def test_groups_are_transformed_apart(self):
        x = torch.arange(5.0).view(5, 1, 1, 1)
        seen = []
        out = InGroups(lambda group: seen.append(group.flatten().tolist()) or group + 10 * len(seen), size=2)(x)
        assert seen == [[0, 1], [2, 3], [4]]
        assert out.flatten().tolist() == [10, 11, 22, 23, 34]

    def test_labels_are_soft_in_training_only(self):
        data = DigitsDataModule(image_size=8, augment=[BatchMixUp(), BatchCutMix(), BatchRandomFlip()])
        data.trainer = SimpleNamespace(training=True, lightning_module=SimpleNamespace(dtype=torch.float32))
        batch = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([3, 3, 3, 3])
        x, y = data.on_after_batch_transfer(batch, 0)
        assert x.shape == (4, 1, 8, 8)
        torch.testing.assert_close(y, F.one_hot(batch[1], 10).float())
        data.trainer.training = False
        assert torch.equal(data.on_after_batch_transfer(batch, 0)[1], batch[1])

    @pytest.mark.parametrize(
        "make",
        [
            lambda: BatchRandomCrop(0),
            lambda: BatchRandomFlip(1.5),
            lambda: BatchMixUp(0.0),
            lambda: BatchCutMix(p=-0.1),
            lambda: InGroups(abs, 0),
        ],
    )
    def test_bad_options_are_refused(self, make):
        with pytest.raises(ValueError, match="must be"):
            make()

    def test_a_crop_that_may_leave_nothing_is_refused(self):
        BatchRandomCrop(2)(torch.zeros(1, 1, 3, 4))
        with pytest.raises(ValueError, match="less than the 3 pixels of a side, got 3"):
            BatchRandomCrop(3)(torch.zeros(1, 1, 3, 4))


class TestProgressiveResize:
    @pytest.mark.parametrize(
        ("progress", "size"),
        [(0.0, 16), (0.19, 16), (0.2, 16), (0.4, 20), (0.5, 24), (0.6, 28), (0.75, 32), (0.99, 32)],
    )
    def test_images_grow_between_the_first_part_and_the_last(self, progress, size):
        """0.2 to 0.8 of training grows from 16 to 32: 16 + 16 * (progress - 0.2) / 0.6, to a multiple of 4."""
        resize = ProgressiveResize(initial_scale=0.5, delay_fraction=0.2, finetune_fraction=0.2)
        assert resize.size(32, progress) == size

    def test_a_jump_and_odd_sizes(self):
        jump = ProgressiveResize(initial_scale=0.3, delay_fraction=0.5, finetune_fraction=0.5)
        assert [jump.size(30, progress) for progress in (0.0, 0.49, 0.5, 0.9)] == [8, 8, 30, 30]
        assert ProgressiveResize(initial_scale=0.1, size_increment=8).size(32, 0.0) == 8

    def test_both_sides_shrink_and_means_stay(self):
        x = torch.rand(3, 2, 16, 24)
        out = ProgressiveResize(initial_scale=0.5)(x, 0.0)
        assert out.shape == (3, 2, 8, 12)
        torch.testing.assert_close(out.mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=0.03, rtol=0)
        assert ProgressiveResize(initial_scale=0.5)(x, 0.8) is x

    def test_training_knows_how_far_it_has_come(self):
        data = DigitsDataModule(augment=[ProgressiveResize(0.5, delay_fraction=0.5, finetune_fraction=0.5)])
        batch = torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.zeros(2)
        task = SimpleNamespace(dtype=torch.float32)
        sides = []
        for epoch in range(4):
            data.trainer = SimpleNamespace(training=True, lightning_module=task, current_epoch=epoch, max_epochs=4)
            sides.append(data.on_after_batch_transfer(batch, 0)[0].shape[-1])
        assert sides == [8, 8, 16, 16]
        data.trainer.training = False
        data.trainer.current_epoch = 0
        assert data.on_after_batch_transfer(batch, 0)[0].shape[-1] == 16
        data.trainer = SimpleNamespace(training=True, lightning_module=task, current_epoch=0, max_epochs=-1)
        with pytest.raises(ValueError, match="max_epochs"):
            data.on_after_batch_transfer(batch, 0)

    @pytest.mark.parametrize(
        "options",
        [
            {"initial_scale": 0.0},
            {"initial_scale": 1.5},
            {"delay_fraction": -0.1},
            {"delay_fraction": 0.6, "finetune_fraction": 0.5},
            {"size_increment": 0},
        ],
    )
    def test_options_out_of_range_are_refused(self, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            ProgressiveResize(**options)
