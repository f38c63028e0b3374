"""Splits that keep samples together which belong together."""

from collections.abc import Sequence

import numpy as np


def grouped_split(labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Divide samples into splits that hold every class in the same proportion, a group never in two of them.

    Groups of several samples go first, the largest before the others, each to the split that still lacks most of its
    classes: that is mostly the largest split. Single samples are shuffled and fill the splits up.

    Args:
        labels: Class of each sample, 0 ... classes - 1. Shape (N,), int.
        groups: Group of each sample, likewise; of samples of any class.
        shares: Share of each split; together 1.
        seed: The same seed gives the same split.

    Returns:
        Indices of each split, sorted; together they are 0 ... N - 1. A split may lack a class.
    """
    random = np.random.default_rng(seed)
    num_classes = int(labels.max()) + 1
    counts = np.bincount(labels, minlength=num_classes)
    bounds = np.round(np.cumsum(shares) * counts[:, None]).astype(np.int64)
    lacking = np.diff(bounds, axis=1, prepend=0)  # of each class in each split
    split_of = np.empty(len(labels), np.int64)
    sizes = np.bincount(groups)
    together = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    for group in np.argsort(-sizes, kind="stable")[: (sizes > 1).sum()]:
        members = np.bincount(labels[together[group]], minlength=num_classes)
        split = int((members @ lacking).argmax())
        split_of[together[group]] = split
        lacking[:, split] -= members
    single = sizes[groups] == 1
    for label in range(num_classes):
        samples = random.permutation(np.flatnonzero(single & (labels == label)))
        wanted = np.cumsum(lacking[label].clip(min=0))
        ends = np.round(wanted / max(wanted[-1], 1) * len(samples)).astype(np.int64)
        for split, chosen in enumerate(np.split(samples, ends[:-1])):
            split_of[chosen] = split
    return [np.flatnonzero(split_of == split) for split in range(len(shares))]
