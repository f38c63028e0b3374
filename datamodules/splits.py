"""Stratified splits and per-class subsets, by seed."""

import torch
from torch import Tensor

FEW = 10
RATIOS = {"70:30": 0.7, "80:20": 0.8, "90:10": 0.9}


def stratified_split(labels: Tensor, fraction: float, seed: int, name: str = "split") -> tuple[Tensor, Tensor]:
    """Split samples in two parts that hold every class in the same proportion.

    A class of fewer than FEW samples has at least one in each part.

    Args:
        labels: Class of each sample. Shape (N,), int64.
        fraction: Share of the first part, in (0, 1).
        seed: The same seed gives the same split.
        name: The option that asked for the split, for the error.

    Returns:
        Indices of the first and of the second part, each sorted; together they are 0 ... N - 1.

    Raises:
        ValueError: If a class has no sample in one of the parts.
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = [], []
    for label in labels.unique().tolist():
        members = torch.nonzero(labels == label).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        count = round(fraction * len(members))
        if 1 < len(members) < FEW:
            count = min(max(count, 1), len(members) - 1)
        if count == 0 or count == len(members):
            raise ValueError(
                f"{name}: class {label} has {len(members)} samples, and a share of {fraction:g} leaves one part of"
                " the split without it; choose another share or more samples"
            )
        first.append(members[:count])
        second.append(members[count:])
    return torch.cat(first).sort().values, torch.cat(second).sort().values


def per_class_subset(labels: Tensor, count: int, seed: int, name: str = "per_class") -> Tensor:
    """Choose the same number of samples from every class.

    Args:
        labels: Class of each sample. Shape (N,), int64.
        count: Samples to choose from each class, at least 1.
        seed: The same seed gives the same subset.
        name: The option that asked for the subset, for the error.

    Returns:
        Indices of the chosen samples, sorted. Shape (count * number of classes,).

    Raises:
        ValueError: If a class has fewer samples.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in labels.unique().tolist():
        members = torch.nonzero(labels == label).flatten()
        if len(members) < count:
            raise ValueError(f"{name}: {count} samples a class asked for, but class {label} has {len(members)}")
        chosen.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(chosen).sort().values
