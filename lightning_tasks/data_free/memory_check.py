"""Estimate the memory of a step before running it."""

from collections.abc import Callable

import psutil
import torch
from torch import Tensor


def saved_bytes(compute: Callable[[], Tensor]) -> int:
    """Count the bytes that autograd keeps of a computation for its gradient.

    Args:
        compute: Returns the tensor to differentiate.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = compute()  # held, so that no storage is used a second time
    del result
    return sum(kept.values())


def require_memory(step: Callable[[int], Tensor], batch_size: int, device: torch.device) -> int:
    """Refuse a step for which there is no memory.

    Args:
        step: Computes from a number of images what is then differentiated; is tried with two and with four.
        batch_size: How many there will be.
        device: On which it computes.

    Returns:
        The bytes that it will take.

    Raises:
        ValueError: If there are not so many.
    """
    few, more = saved_bytes(lambda: step(2)), saved_bytes(lambda: step(4))  # both with what does not grow, as weights
    needed = few + (batch_size - 2) * (more - few) // 2
    there, of = memory(device)
    if needed > there:
        raise ValueError(
            f"batch_size: a step of the generator on {batch_size} images needs {needed / 2**30:,.1f} GiB, and {of}"
            f" {there / 2**30:,.1f}; make it, or the generator's width, smaller"
        )
    return needed


def memory(device: torch.device) -> tuple[int, str]:
    """Give the bytes that there are for a run, and whose they are, as "the GPU has free"."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0], "the GPU has free"
    return psutil.virtual_memory().total, "this machine has"
