"""Stratified splits."""

import pytest
import torch

from datamodules.splits import per_class_subset, stratified_split


class TestSplits:
    labels = torch.arange(1000) % 10

    def test_parts_are_whole_disjoint_and_stratified(self):
        first, second = stratified_split(self.labels, 0.7, seed=3)
        assert torch.equal(torch.cat([first, second]).sort().values, torch.arange(1000))
        assert torch.bincount(self.labels[first]).tolist() == [70] * 10
        assert torch.bincount(self.labels[second]).tolist() == [30] * 10

    def test_seed_decides(self):
        a, b, c = (stratified_split(self.labels, 0.7, seed)[0] for seed in (1, 1, 2))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)

    @pytest.mark.parametrize(
        ("count", "share", "expected"), [(2, 0.9, 1), (3, 0.9, 2), (4, 0.9, 3), (9, 0.99, 8), (9, 0.05, 1), (7, 0.7, 5)]
    )
    def test_a_class_of_few_has_a_sample_in_each_part(self, count, share, expected):
        labels = torch.tensor([0] * 100 + [1] * count)
        first, second = stratified_split(labels, share, 0)
        assert ((labels[first] == 1).sum(), (labels[second] == 1).sum()) == (expected, count - expected)
        assert (labels[first] == 0).sum() == round(100 * share)

    def test_a_share_that_leaves_a_class_of_ten_out_is_refused(self):
        with pytest.raises(ValueError, match=r"class 0 has 10 samples, and a share of 0\.99 leaves one part"):
            stratified_split(torch.zeros(10, dtype=torch.int64), 0.99, 0)

    def test_empty_class_is_refused(self):
        with pytest.raises(ValueError, match=r"data\.x: class 9 has 1 samples"):
            stratified_split(torch.tensor([0] * 10 + [9]), 0.9, 0, "data.x")

    def test_per_class(self):
        chosen = per_class_subset(self.labels, 7, seed=0)
        assert torch.bincount(self.labels[chosen]).tolist() == [7] * 10
        with pytest.raises(ValueError, match="n: 101 samples a class asked for, but class 0 has 100"):
            per_class_subset(self.labels, 101, 0, "n")
