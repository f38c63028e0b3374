"""Images that are in two splits of a set, bit for bit."""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from datamodules.tensors import TensorImages

MOST = 0.1  # share of a split that may lie in another too; official sets have a few
LARGEST = 2**29  # bytes of all images; to read more takes too long at each start


def require_apart(splits: Mapping[str, TensorImages | None]) -> None:
    """Refuse splits of which more than a tenth is in an earlier one, as where a folder was copied.

    Sets of more than half a gigabyte are not looked at.

    Args:
        splits: By name, in the order of training, validation and test; None is left out.

    Raises:
        ValueError: Says how many images of which splits are the same.
    """
    there = {name: split for name, split in splits.items() if split is not None}
    if sum(len(split) * split[0][0].nbytes for split in there.values()) > LARGEST:
        return
    signatures = {name: _signatures(split) for name, split in there.items()}
    for (first, ours), (second, theirs) in combinations(signatures.items(), 2):
        same = int(torch.isin(theirs, ours).sum())
        if same > MOST * len(theirs):
            raise ValueError(f"{same:,} of {len(theirs):,} {second} images are {first} images too, bit for bit")


def _signatures(images: TensorImages) -> Tensor:
    """Compute 64 bits of each image, random sums that differ for different images. Shape (N,), int64."""
    found = []
    for indices in torch.arange(len(images)).split(1000):
        pixels = images.__getitems__(indices.tolist())[0].flatten(1)
        words = torch.nn.functional.pad(pixels, (0, -pixels.shape[1] % 8)).view(torch.int64)
        generator = torch.Generator().manual_seed(0)
        found.append(words @ torch.randint(-(2**62), 2**62, (words.shape[1],), generator=generator))
    return torch.cat(found)
