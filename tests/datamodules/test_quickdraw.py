"""The datamodules of Quick, Draw!: parts, batches, buckets, pictures, refusals."""

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.quickdraw_files import line, scribbles, write

from datamodules import QuickDrawDataModule, QuickDrawImagesDataModule
from datamodules.groups import grouped_split
from datamodules.sketches import BucketSampler, drop_points
from lightning_tasks.drawings import to_drawing, to_steps
from lightning_tasks.drawings.render import render
from tests.helpers.padding import pad


def module(root, words=("cat", "bus"), **options):
    data = QuickDrawDataModule(words, root=str(root), **options)
    data.prepare_data()
    return data


def drawings(part):
    return [part.steps(index).tobytes() for index in range(len(part))]


class TestSplits:
    def test_shares_classes_and_groups(self):
        """Class 0 has 100 single samples, class 1 has 40 and a group of 60; 5 of each are one more group."""
        labels = np.repeat([0, 1], 105)
        groups = np.arange(210)
        groups[140:200] = groups[140]
        groups[[*range(100, 105), *range(205, 210)]] = groups[100]
        groups = np.unique(groups, return_inverse=True)[1]
        parts = grouped_split(labels, groups, (0.6, 0.1, 0.1, 0.2), seed=0)
        assert np.sort(np.concatenate(parts)).tolist() == list(range(210))
        for i, part in enumerate(parts):
            for other in parts[:i]:
                assert not set(groups[part]) & set(groups[other])
        counts = np.array([np.bincount(labels[part], minlength=2) for part in parts])
        assert np.abs(counts - 105 * np.array([[0.6], [0.1], [0.1], [0.2]])).max() <= 3
        again, other = (grouped_split(labels, groups, (0.6, 0.1, 0.1, 0.2), seed) for seed in (0, 1))
        assert [part.tolist() for part in again] == [part.tolist() for part in parts]
        assert other[1].tolist() != parts[1].tolist()

    def test_a_group_larger_than_its_part(self):
        """Nine tenths of a class in one group leave a tenth for the other parts."""
        labels, groups = np.zeros(100, int), np.minimum(np.arange(100), 10)
        parts = grouped_split(labels, groups, (0.6, 0.1, 0.1, 0.2), seed=0)
        assert [len(part) for part in parts] == [90, 2, 3, 5]

    def test_four_parts_of_drawings(self, tmp_path):
        write(tmp_path, ["cat", "bus"])
        twin = scribbles(40, 0)[3]  # a cat also among the buses, ten times, slightly moved
        with open(tmp_path / "quickdraw" / "bus.ndjson", "a") as file:
            file.writelines(
                line([[[x + n for x in axis] for axis in stroke] for stroke in twin], "bus") for n in range(10)
            )
        data = module(tmp_path)
        sets = [data.train_set, data.val_set, data.test_set, data.recogniser_set]
        assert [torch.bincount(each.words).tolist() for each in sets] == [[24, 30], [4, 5], [4, 5], [8, 10]]
        found = [Counter(drawings(each)) for each in sets]
        expected = Counter(to_steps([np.array(stroke).T for stroke in each]).tobytes()
                           for each in [*scribbles(40, 0), *scribbles(40, 1), *[twin] * 10])  # fmt: skip
        assert sum(found, Counter()) == expected
        assert all(not first & second for i, first in enumerate(found) for second in found[:i])
        again, other = module(tmp_path), module(tmp_path, split_seed=1)
        assert drawings(again.test_set) == drawings(data.test_set)
        assert drawings(other.test_set) != drawings(data.test_set)
        assert (data.data_spec["dataset"], data.data_spec["words"], data.data_spec["max_length"]) == (
            "QuickDraw",
            ("cat", "bus"),
            300,
        )
        assert data.class_names == ["cat", "bus"]

    def test_fewer_drawings_and_recognized_ones(self, tmp_path):
        write(tmp_path, ["cat"], recognized=True)
        folder = write(tmp_path, ["bus"])
        few = module(tmp_path, drawings_per_word=20)
        assert torch.bincount(few.train_set.words).tolist() == [12, 12]
        with pytest.raises(ValueError, match=r"recognized_only: no line of .*bus.ndjson says"):
            module(tmp_path, recognized_only=True)
        with open(folder / "bus.ndjson", "a") as file:
            file.writelines(line(each, "bus", recognized=n < 10) for n, each in enumerate(scribbles(20, 7)))
        recognized = module(tmp_path, recognized_only=True)
        sets = recognized.train_set, recognized.val_set, recognized.test_set, recognized.recogniser_set
        assert [len(each) for each in sets] == [30, 5, 5, 10]
        with pytest.raises(
            ValueError, match=r"drawings_per_word: .*cat.ndjson has 40 drawings that can be used, not 41"
        ):
            module(tmp_path, drawings_per_word=41)


class TestBatches:
    def test_equal_to_plain_padding(self, tmp_path):
        write(tmp_path, ["cat", "bus"])
        for max_length in (300, 7):
            data = module(tmp_path, max_length=max_length)
            train, std = data.train_set, data.offset_std
            offsets = np.concatenate([train.steps(index)[:, :2] for index in range(len(train))])
            assert std == pytest.approx(offsets.astype(np.float64).std(), rel=1e-9)
            some = [5, 0, 31, 5]
            steps = [torch.from_numpy(train.steps(index)) / torch.tensor([std, std, 1]) for index in some]
            plain = pad(steps, train.words[some], max_length)
            assert all(torch.equal(*pair) for pair in zip(train.__getitems__(some), plain, strict=True))
            assert train.lengths[some].tolist() == plain.lengths.tolist()
            assert torch.equal(train[5].pens, plain.pens[:1, : plain.lengths[0]])
            assert all(torch.equal(*pair) for pair in zip(data.test_samples([1, 2]), data.test_set.__getitems__([1, 2]),
                                                          strict=True))  # fmt: skip

    def test_the_scale_of_a_checkpoint_is_taken_up(self, tmp_path):
        write(tmp_path, ["cat", "bus"])
        data = module(tmp_path)
        before = data.val_set[0].offsets
        state = data.state_dict()
        assert state == {"seed": data.seed, "offset_std": data.offset_std}
        for loads_first in (True, False):
            other = QuickDrawDataModule(("cat", "bus"), root=str(tmp_path))
            steps = [lambda other=other: other.load_state_dict({"seed": 5, "offset_std": 2 * data.offset_std}),
                     other.prepare_data]  # fmt: skip
            for step in steps if loads_first else steps[::-1]:
                step()
            assert (other.seed, other.offset_std) == (5, 2 * data.offset_std)
            torch.testing.assert_close(other.val_set[0].offsets, before / 2)
            torch.testing.assert_close(other.train_set[0].offsets, data.train_set[0].offsets / 2)

    def test_random_scale(self, tmp_path):
        write(tmp_path, ["cat", "bus"])
        plain, scaled = module(tmp_path), module(tmp_path, random_scale=0.15)
        some = list(range(40))
        torch.manual_seed(1)
        batch, again = scaled.train_set.__getitems__(some), scaled.train_set.__getitems__(some)
        torch.manual_seed(1)
        assert torch.equal(scaled.train_set.__getitems__(some).offsets, batch.offsets)
        assert not torch.equal(again.offsets, batch.offsets)
        offsets = plain.train_set.__getitems__(some).offsets
        first = batch.offsets.square().sum(dim=1).sqrt() / offsets.square().sum(dim=1).sqrt()
        torch.testing.assert_close(offsets * first[:, None], batch.offsets)
        assert 0.85 <= first.min() < 0.9 < 1.1 < first.max() <= 1.15
        assert (first[:, 0] - first[:, 1]).abs().max() > 0.1
        assert torch.equal(scaled.val_set[0].offsets, plain.val_set[0].offsets)

    def test_dropped_points(self):
        """Of two drawings, all that may go goes: points 2 ... last - 1 of a stroke, counted from 0."""
        first = [[1, 0, 0], [2, 0, 0], [4, 0, 0], [8, 0, 1], [0, 1, 0], [0, 2, 0], [0, 4, 0], [0, 8, 0], [0, 16, 1]]
        second = [[5, 5, 0], [6, 1, 0], [7, 2, 0], [8, 3, 1], [1, 1, 0], [1, 2, 0], [3, 3, 1]]
        steps = torch.tensor([*first, *second], dtype=torch.float32)
        starts, counts = torch.tensor([0, 9]), torch.tensor([9, 7])
        fewer, new_starts, new_counts = drop_points(steps, starts, counts, 1.0)
        left = [[1, 0, 0], [14, 0, 1], [0, 1, 0], [0, 2, 0], [0, 28, 1]]
        assert fewer.tolist() == [*left, [5, 5, 0], [21, 6, 1], *second[4:]]
        assert (new_starts.tolist(), new_counts.tolist()) == ([0, 5], [5, 5])
        assert torch.equal(drop_points(steps, starts, counts, 0.0)[0], steps)

    def test_dropped_points_in_training_only(self, tmp_path):
        write(tmp_path, ["cat", "bus"])
        plain, dropping = module(tmp_path), module(tmp_path, point_drop=0.5)
        torch.manual_seed(0)
        before, after = (each.train_set.__getitems__(list(range(48))) for each in (plain, dropping))
        assert 0.6 < after.lengths.sum() / before.lengths.sum() < 0.9
        torch.testing.assert_close(after.offsets.sum(dim=1), before.offsets.sum(dim=1), atol=1e-4, rtol=1e-4)
        assert (after.pens == 1).sum(dim=1).tolist() == (before.pens == 1).sum(dim=1).tolist()
        for name in ("val_set", "recogniser_set"):
            assert torch.equal(getattr(plain, name)[1].pens, getattr(dropping, name)[1].pens)
        assert np.array_equal(plain.train_set.steps(3), dropping.train_set.steps(3))


class Lengths:
    def __init__(self, count):
        self.lengths = torch.randint(5, 120, (count,), generator=torch.Generator().manual_seed(0))
        self.labels = torch.tensor([0] * (count - count // 10) + [1] * (count // 10))

    def __len__(self):
        return len(self.lengths)


class TestBuckets:
    data = Lengths(1003)

    def test_all_once_alike_and_shuffled(self):
        sampler = BucketSampler(self.data, 8, 1, 0, seed=3)
        order = torch.tensor(list(sampler))
        assert sorted(order.tolist()) == list(range(1003))
        lengths = self.data.lengths[order]
        assert max(np.ptp(batch) for batch in lengths[:1000].view(-1, 8).numpy()) < 30
        assert np.corrcoef(lengths[:992:8], lengths[8:1000:8])[0, 1] < 0.3  # batches are not sorted
        assert np.ptp(lengths[1000:].numpy()) > 5  # the last three are whatever they are
        assert list(sampler) == order.tolist()
        sampler.set_epoch(1)
        other = torch.tensor(list(sampler))
        assert sorted(other.tolist()) == list(range(1003))
        batches = [{frozenset(batch) for batch in each[:1000].view(-1, 8).tolist()} for each in (order, other)]
        assert len(batches[0] & batches[1]) < 5
        assert list(BucketSampler(self.data, 8, 1, 0, seed=4)) == other.tolist()  # seed + epoch, as its base has it

    def test_ranks_have_batches_alike(self):
        ranks = [torch.tensor(list(BucketSampler(self.data, 8, 2, rank, seed=3))) for rank in (0, 1)]
        assert [len(rank) for rank in ranks] == [502, 502]
        drawn = Counter(torch.cat(ranks).tolist())
        assert len(drawn) == 1003
        assert drawn.total() == 1004
        lengths = torch.stack([self.data.lengths[rank[:496]].view(-1, 8) for rank in ranks]).float()
        assert (lengths.mean(dim=2).diff(dim=0)).abs().max() < 15

    def test_balanced(self):
        order = torch.tensor(list(BucketSampler(self.data, 8, 1, 0, seed=3, balanced=True)))
        assert self.data.labels[order].float().mean() == pytest.approx(0.5, abs=0.05)
        assert max(np.ptp(batch) for batch in self.data.lengths[order][:1000].view(-1, 8).numpy()) < 30

    def test_of_the_loader(self, tmp_path):
        write(tmp_path, ["cat", "bus"])
        for bucketed in (True, False):
            loader = module(tmp_path, batch_size=10, bucket_by_length=bucketed).train_dataloader()
            assert isinstance(loader.sampler, BucketSampler) == bucketed
            batches = list(loader)
            assert [len(batch.words) for batch in batches] == [10, 10, 10, 10, 8]
            assert all(batch.pens.shape[1] == batch.lengths.max() for batch in batches)


class TestPictures:
    def test_the_recogniser_learns_from_its_part_and_is_tested_on_the_same(self, tmp_path):
        write(tmp_path, ["cat", "bus"])
        sketches = module(tmp_path, max_length=8)
        images = QuickDrawImagesDataModule(("cat", "bus"), root=str(tmp_path), max_length=8, image_size=16)
        images.prepare_data()
        pairs = {"recogniser_set": images.train_set, "val_set": images.val_set, "test_set": images.test_set}
        for name, rendered in pairs.items():
            drawn = getattr(sketches, name)
            assert torch.equal(rendered.labels, drawn.words)
            for index in (0, 3, len(drawn) - 1):
                picture = render(to_drawing(drawn.steps(index)[:8]), 16)
                assert np.array_equal(rendered.images[index, 0].numpy(), picture)
        assert images.class_names == ["cat", "bus"]
        assert images.data_spec["num_classes"] == 2
        assert images.data_spec["image_shape"] == (1, 16, 16)
        assert images.data_spec["parts"] == sketches.data_spec["parts"]
        x, y = images.on_after_batch_transfer(next(iter(images.val_dataloader())), 0)
        assert x.shape == (8, 1, 16, 16)
        torch.testing.assert_close(x, (images.val_set.images.float() / 255 - 0.1359) / 0.2892)
        assert y.tolist() == [0] * 4 + [1] * 4


class TestRefused:
    def test_bad_lines_up_to_a_share(self, tmp_path):
        folder = write(tmp_path, ["cat", "bus"], 95)
        for word, bad in (("cat", [2, 50]), ("bus", [7, 8, 9, 10])):
            lines = (folder / f"{word}.ndjson").read_text().splitlines(keepends=True)
            for number in bad:
                lines.insert(number - 1, "\n" if number == 50 else line()[: 5 * number] + "\n")
            (folder / f"{word}.ndjson").write_text("".join(lines))
        summary = (
            r"^QuickDraw: 6 lines of 2 files in .*quickdraw are skipped: 5 no whole JSON object \(cat.ndjson:2,"
            r" bus.ndjson:7, bus.ndjson:8, \.\.\.\); 1 empty \(cat.ndjson:50\)$"
        )
        for _ in range(2):  # parsed, and from the cache
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                assert len(module(tmp_path, bad_lines=0.05).test_set) == 20
            assert len(said) == 1
            with pytest.warns(UserWarning, match=summary):
                module(tmp_path, bad_lines=0.05)
            message = (
                "bad_lines: 2 of 97 lines of .*cat.ndjson cannot be used, more than a share of 0.02: 1 no whole JSON"
            )
            with pytest.raises(ValueError, match=f"^{message}"):
                module(tmp_path, bad_lines=0.02)

    def test_too_few_drawings(self, tmp_path):
        folder = write(tmp_path, ["cat", "bus"], 40)
        (folder / "bus.ndjson").write_text("")
        with pytest.raises(ValueError, match=r"bus.ndjson has 0 drawings that can be used, not 1"):
            module(tmp_path)
        (folder / "bus.ndjson").write_text("".join(line(each, "bus") for each in scribbles(4, 0)))
        with pytest.raises(ValueError, match=r"^test_fraction 0.1 leaves no drawing of 'bus' for its split; it has 4$"):
            module(tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"words": ()}, "words must be one or more, each once"),
            ({"words": ("cat", "cat")}, "words must be one or more, each once"),
            ({"words": ("../cat",)}, "'../cat' is no name of a word"),
            ({"words": (" ",)}, "' ' is no name of a word"),
            ({"val_fraction": 0.0}, "val_fraction must be between 0 and 1"),
            ({"recogniser_fraction": 0.8}, "must leave something for training"),
            ({"drawings_per_word": 0}, "drawings_per_word must be at least 1"),
            ({"bad_lines": 2.0}, r"bad_lines must be a share in \[0, 1\]"),
            ({"max_length": 1}, "max_length must be at least 2"),
        ],
    )
    def test_options(self, options, message):
        for kind in (QuickDrawDataModule, QuickDrawImagesDataModule):
            with pytest.raises(ValueError, match=message):
                kind(**options)

    def test_options_of_one_of_them(self):
        for options, message in (
            ({"random_scale": 1.0}, "random_scale must be in"),
            ({"point_drop": -0.1}, "point_drop"),
        ):
            with pytest.raises(ValueError, match=message):
                QuickDrawDataModule(**options)
        with pytest.raises(ValueError, match="image_size must be at least 8"):
            QuickDrawImagesDataModule(image_size=4)


@pytest.mark.real_data
class TestRealData:
    def test_statistics_of_the_pictures(self, real_data):
        if not (real_data / "quickdraw").is_dir():
            pytest.skip("no real drawings in data/")
        data = QuickDrawImagesDataModule(root=str(real_data))
        data.prepare_data()
        images = data.train_set.images.double() / 255
        assert (images.mean().item(), images.std(correction=0).item()) == pytest.approx((0.1359, 0.2892), abs=1e-4)
