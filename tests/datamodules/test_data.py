"""What all datamodules share: splits, batches, normalisation, subsets."""

import warnings
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from helpers.commands import make_trainer
from pytorch_lightning import LightningModule
from torch.utils.data import DataLoader
from torchvision import datasets

from datamodules import (
    CIFAR100DataModule,
    DigitsDataModule,
    MNISTDataModule,
    NoImages,
)
from datamodules.images import channel_statistics
from datamodules.tensors import BalancedSampler, StepDataset, TensorImages


class TestModule:
    def test_parts_are_disjoint_and_cover_all(self):
        data = DigitsDataModule()
        data.setup("fit")
        parts = [data.train_set, data.val_set, data.test_set]
        assert [len(part) for part in parts] == [1293, 145, 359]
        assert sum(int(part.images.sum()) for part in parts) == int(data.load()[0].images.sum())
        assert all(len(part.labels.unique()) == 10 for part in parts)

    @pytest.mark.parametrize(("split", "share"), [("70:30", 0.7), ("80:20", 0.8), ("90:10", 0.9)])
    def test_ratio(self, split, share):
        data = DigitsDataModule(split=split)
        data.setup("fit")
        assert (len(data.train_set) + len(data.val_set)) / 1797 == pytest.approx(share, abs=0.005)

    def test_ratio_of_a_set_with_an_official_split_takes_all_samples(self, mnist_root):
        data = MNISTDataModule(root=str(mnist_root), split="90:10", val_fraction=0.2)
        data.setup("fit")
        assert len(data.test_set) == 30
        assert len(data.train_set) + len(data.val_set) == 270

    def test_validation_comes_from_the_training_part(self, mnist_root):
        data = MNISTDataModule(root=str(mnist_root), val_fraction=0.2)
        data.setup("fit")
        official = datasets.MNIST(str(mnist_root), train=True)
        assert len(data.train_set) + len(data.val_set) == len(official)
        assert torch.equal(data.test_set.images[:, 0], datasets.MNIST(str(mnist_root), train=False).data)

    def test_batches_are_normalised(self):
        data = DigitsDataModule()
        data.setup("fit")
        x, y = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        raw = data.val_set.images.float() / 255
        torch.testing.assert_close(x, (raw - data.mean[0]) / data.std[0])

    def test_statistics_are_those_of_the_set(self):
        images = DigitsDataModule().load()[0].images.double() / 255
        assert DigitsDataModule.mean[0] == pytest.approx(images.mean().item(), abs=1e-4)
        assert DigitsDataModule.std[0] == pytest.approx(images.std().item(), abs=1e-4)

    def test_per_class_counts(self):
        data = DigitsDataModule(train_per_class=12, test_per_class=5)
        data.setup("fit")
        assert torch.bincount(data.train_set.labels).tolist() == [12] * 10
        assert torch.bincount(data.test_set.labels).tolist() == [5] * 10

    def test_epochs_are_shuffled_and_repeatable(self):
        data = DigitsDataModule(batch_size=100)
        data.setup("fit")
        loader = data.train_dataloader()
        orders = []
        for epoch in (0, 1, 0):
            loader.sampler.set_epoch(epoch)
            orders.append(torch.cat([y for _, y in loader]))
        assert len(orders[0]) == 1293
        assert torch.equal(orders[0], orders[2])
        assert not torch.equal(orders[0], orders[1])

    def test_a_last_batch_of_one_sample_is_left_out(self, mnist_root):
        """BatchNorm could not train on it. 180 training images: 2 batches of 89 and 2, 1 of 179, 1 of all."""
        for batch_size, sizes in ((89, [89, 89, 2]), (179, [179]), (180, [180]), (1, [1] * 180)):
            data = MNISTDataModule(root=str(mnist_root), batch_size=batch_size)
            data.prepare_data()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert [len(y) for _, y in data.train_dataloader()] == sizes

    def test_fewer_samples_than_a_batch_are_said(self, mnist_root):
        data = MNISTDataModule(root=str(mnist_root), batch_size=181)
        data.prepare_data()
        with pytest.warns(UserWarning, match="data.batch_size is 181: a step takes all 180 training samples"):
            assert [len(y) for _, y in data.train_dataloader()] == [180]

    @pytest.mark.parametrize("device", ["cpu", "cuda"])
    def test_memory_is_pinned_where_the_run_is_on_a_gpu(self, device, monkeypatch):
        """Not where there is one, which a run on the CPU leaves alone."""
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        data = DigitsDataModule()
        data.prepare_data()
        assert not data.train_dataloader().pin_memory
        strategy = SimpleNamespace(root_device=torch.device(device))
        data.trainer = SimpleNamespace(strategy=strategy, world_size=1, global_rank=0, lightning_module=None)
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            assert loader.pin_memory == (device == "cuda")

    def test_another_normalisation_is_in_the_facts(self):
        data = DigitsDataModule(image_size=8, mean=[0.5], std=(0.25,))
        assert (data.data_spec["mean"], data.data_spec["std"]) == ((0.5,), (0.25,))
        assert data.normalise(torch.ones(1, 1, 8, 8)).unique().tolist() == [2]
        for options in ({"mean": (0.1, 0.2)}, {"std": (0.0,)}):
            with pytest.raises(ValueError, match="needs a number for each of 1 channels"):
                DigitsDataModule(**options)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (
                {"mean": (125.3,)},
                r"^mean is of images in \[0, 1\] and must be in \[0, 1\] too, got \(125\.3,\); divide by 255\?$",
            ),
            ({"std": (63.0,)}, r"^std is of images in .*, got \(63\.0,\); divide by 255\?$"),
            ({"mean": (-0.1,)}, r"^mean is of images in .*, got \(-0\.1,\)$"),
            ({"mean": (1.01,), "normalise": False}, r"^mean is of images in"),
        ],
    )
    def test_mean_and_deviation_in_other_units_are_refused(self, options, said):
        with pytest.raises(ValueError, match=said):
            DigitsDataModule(**options)
        with pytest.raises(ValueError, match=said):
            NoImages(2, **{"image_shape": (1, 8, 8), "mean": (0.0,), "std": (1.0,)} | options)
        assert NoImages(2, image_shape=(1, 8, 8), mean=(0.0,), std=(1.0,)).data_spec["std"] == (1.0,)

    def test_one_value_has_no_deviation(self):
        """Whatever the value and the number of images; rounding errors made it a root of less than 0."""
        for value in range(256):
            for count in (4, 7, 1000):
                images = torch.full((count, 1, 3, 3), value, dtype=torch.uint8)
                mean, std = channel_statistics(TensorImages(images, torch.zeros(count)))
                assert (mean[0], std) == (round(value / 255, 4), (0.0,))

    @pytest.mark.parametrize("balanced", [True, False])
    def test_training_samples_are_balanced_if_asked_for(self, balanced):
        data = DigitsDataModule(balanced_sampling=balanced)
        data.setup("fit")
        assert isinstance(data.train_dataloader().sampler, BalancedSampler) == balanced

    def test_worker_processes_give_the_same_batches(self):
        batches = []
        for num_workers in (0, 1):
            data = DigitsDataModule(batch_size=700, num_workers=num_workers)
            data.setup("fit")
            loader = data.train_dataloader()
            assert loader.num_workers == num_workers
            batches.append([y for _, y in loader])
        assert all(torch.equal(*pair) for pair in zip(*batches, strict=True))

    def test_without_data_an_epoch_is_step_numbers(self):
        data = DigitsDataModule(steps_per_epoch=7)
        data.setup("fit")
        assert list(data.train_dataloader()) == list(range(7))
        assert data.train_set is None
        assert data.on_after_batch_transfer(3, 0) == 3

    def test_options_of_training_images_are_said_to_have_no_effect_without_them(self):
        def told(**options):
            data = DigitsDataModule(steps_per_epoch=7, **options)
            data.setup("fit")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                data.train_dataloader()
            return [str(each.message) for each in caught]

        assert told() == told(batch_size=128) == []
        (line,) = told(batch_size=64)
        assert line.startswith("data.batch_size 64 has no effect")
        assert "model.batch_size" in line
        (line,) = told(num_workers=2)
        assert line.startswith("data.num_workers 2 has no effect")
        (line,) = told(train_per_class=5)
        assert line.startswith("data.train_per_class 5 has no effect")

    @pytest.mark.parametrize(
        ("option", "bad"),
        [
            *[("batch_size", 0), ("steps_per_epoch", 0), ("eval_batch_size", -1), ("image_size", 0)],
            *[("val_fraction", 0), ("val_fraction", 1), ("train_per_class", 0), ("test_per_class", -1)],
        ],
    )
    def test_bad_numbers_are_refused(self, option, bad):
        with pytest.raises(ValueError, match=f"^{option} must be .*, got {bad}$"):
            MNISTDataModule(**{option: bad})


def test_whole_batches_equal_single_samples():
    data = TensorImages(torch.arange(24).view(6, 1, 2, 2).to(torch.uint8), torch.arange(6))
    x, y = data.__getitems__([4, 1])
    assert torch.equal(x, torch.stack([data[4][0], data[1][0]]))
    assert y.tolist() == [4, 1]
    with pytest.raises(ValueError, match="6 images, but 5 labels"):
        TensorImages(data.images, data.labels[:5])


def test_balanced_sampler_evens_out_and_shares():
    labels = torch.tensor([0] * 900 + [1] * 100)
    data = TensorImages(torch.zeros(1000, 1, 1, 1, dtype=torch.uint8), labels)
    ranks = [BalancedSampler(data, 2, rank, seed=5) for rank in (0, 1)]
    drawn = [list(sampler) for sampler in ranks]
    assert [len(part) for part in drawn] == [500, 500]
    assert drawn[0] != drawn[1]
    assert labels[torch.tensor(drawn[0] + drawn[1])].float().mean() == pytest.approx(0.5, abs=0.05)
    assert list(ranks[0]) == drawn[0]
    ranks[0].set_epoch(1)
    assert list(ranks[0]) != drawn[0]


def test_step_dataset_has_a_length_and_is_not_shared_out():
    assert len(StepDataset(5)) == 5
    assert list(DataLoader(StepDataset(5), batch_size=None)) == [0, 1, 2, 3, 4]


@pytest.mark.real_data
class TestRealData:
    @pytest.mark.slow
    def test_statistics_are_those_of_the_training_images(self, real_data):
        for module in (MNISTDataModule, CIFAR100DataModule):
            images = module(root=str(real_data)).load()[0].images.double() / 255
            assert images.mean((0, 2, 3)).tolist() == pytest.approx(module.mean, abs=1e-4)
            assert images.std((0, 2, 3)).tolist() == pytest.approx(module.std, abs=1e-4)

    def test_official_sizes_and_names(self, real_data):
        data = CIFAR100DataModule(root=str(real_data))
        data.prepare_data()
        assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [45000, 5000, 10000]
        assert torch.bincount(data.test_set.labels).tolist() == [100] * 100
        assert data.class_names[:2] == ["apple", "aquarium_fish"]
        groups = dict(zip(data.class_names, data.class_levels["superclass"], strict=True))
        assert sorted(Counter(groups.values()).values()) == [5] * 20
        trees = {name for name, group in groups.items() if group == "trees"}
        assert trees == {"maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"}
        assert groups["aquarium_fish"] == "fish"


def test_subsets_are_indices_of_the_same_images():
    data = DigitsDataModule(train_per_class=5)
    data.setup("fit")
    parts = data.train_set, data.val_set, data.test_set
    assert len({part[0][0].untyped_storage().data_ptr() for part in parts}) == 1
    part = TensorImages(torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1), torch.arange(6) + 10)
    part = part.subset(torch.tensor([5, 3, 1])).subset(torch.tensor([2, 0]))
    assert part.labels.tolist() == [11, 15]
    assert part[1][0].item() == 5
    assert part.__getitems__([1, 0])[1].tolist() == [15, 11]
    assert torch.equal(part.copy().images, part.images)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_draws_the_samples_of_its_epoch(workers, tmp_path):
    """Lightning starts the workers of a resumed epoch before it tells the sampler which epoch it is."""

    class Watching(LightningModule):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

        def training_step(self, batch, batch_idx):
            self.seen.append((self.current_epoch, *batch[1].tolist()))
            return self.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(epochs, ckpt_path=None):
        task, trainer = Watching(), make_trainer(max_epochs=epochs, limit_val_batches=0)
        trainer.fit(task, DigitsDataModule(batch_size=64, train_per_class=20, num_workers=workers), ckpt_path=ckpt_path)
        return task.seen, trainer

    whole, _ = fit(3)
    first, trainer = fit(1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    assert first + fit(3, tmp_path / "one.ckpt")[0] == whole
