"""The one seed of a run, from which every epoch and rank derives its own."""

import os

import torch

MOST = 2**32 - 1
DEFAULT_SEED = 42


def run_seed() -> int:
    """Return the seed that `seed_everything` was given, or else the one that PyTorch's generator was started with.

    So two runs from Python differ as their `torch.manual_seed` does, also without `seed_everything`. To be read before
    training, which seeds the generator anew in each epoch. Ranks that were not seeded alike have different ones.
    """
    return int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed() % 2**32))


def require_seed(seed: int | bool | None, option: str) -> None:
    """Refuse a number that no generator takes.

    Args:
        seed: The number, if there is one.
        option: Name of the option that gives it, for the error message.

    Raises:
        ValueError: If it is not in [0, 2^32).
    """
    if seed is not None and not 0 <= seed <= MOST:
        raise ValueError(f"{option} must be in [0, {MOST:,}], got {seed}")
