"""Images that lie in a file."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.image_files import pictures

from datamodules.decoding import ArrayFile, StoredImages, decode_to_file


class TestStoredImages:
    def test_batches_and_subsets(self, tmp_path):
        data = StoredImages(decode_to_file(pictures(tmp_path), tmp_path / "cache"), torch.arange(12) + 50)
        part = data.subset(torch.tensor([7, 3, 5])).subset(torch.tensor([2, 0]))
        assert isinstance(part, StoredImages)
        x, y = part.__getitems__([1, 0, 1])
        assert (x.dtype, x.shape) == (torch.uint8, (3, 3, 3, 4))
        assert x[:, :, 0, 0].tolist() == [[7, 14, 248], [5, 10, 250], [7, 14, 248]]
        assert x[0].unique().tolist() == [7, 14, 248]
        assert y.tolist() == [57, 55, 57]
        assert torch.equal(part.images, x[[1, 0]])
        assert torch.equal(part[0][0], x[1])

    def test_another_array_in_the_place_of_the_file_changes_nothing(self, tmp_path):
        files = pictures(tmp_path)
        data = StoredImages(decode_to_file(files, tmp_path / "cache"), torch.arange(12))
        decode_to_file(files[::-1], tmp_path / "cache")
        assert data.__getitems__([3])[0][0, :, 0, 0].tolist() == [3, 6, 252]

    def test_a_file_cut_short_in_use_is_named(self, tmp_path):
        data = StoredImages(decode_to_file(pictures(tmp_path), tmp_path / "cache"), torch.arange(12))
        os.truncate(tmp_path / "cache.npy", 128 + 36 * 5 + 1)
        assert data.__getitems__([4])[0][0, 0, 0, 0] == 4
        with pytest.raises(OSError, match=r"cache\.npy was cut short while it is in use$"):
            data.__getitems__([4, 5])

    def test_files_are_closed(self, tmp_path):
        data = StoredImages(decode_to_file(pictures(tmp_path), tmp_path / "cache"), torch.arange(12))
        part = data.subset(torch.arange(2))
        count = len(os.listdir("/dev/fd"))
        del data
        assert part.__getitems__([1])[0][0, 0, 0, 0] == 1
        del part
        assert len(os.listdir("/dev/fd")) == count - 2  # of the map and of the file

    @pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells")
    def test_nothing_stays_resident(self, tmp_path):
        path = tmp_path / "big.npy"
        np.save(path, np.full((2000, 3, 64, 64), 7, np.uint8))  # 25 MB
        data = StoredImages(ArrayFile(path), torch.zeros(2000, dtype=torch.long))
        total = sum(int(data.__getitems__(group.tolist())[0].sum()) for group in torch.arange(2000).split(100))
        assert total == 7 * 2000 * 3 * 64 * 64
        assert resident(path) < 100
        data.images.sum()
        assert resident(path) > 24_000  # the measure sees it


def resident(path):
    """Kilobytes of a mapped file that are in memory."""
    mapped, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):  # a new mapping
            mapped = line.endswith(str(path))
        elif mapped and first == "Rss:":
            total += int(rest[0])
    return total
