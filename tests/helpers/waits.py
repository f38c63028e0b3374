"""What makes the host wait for a GPU."""

import traceback

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.commands import ROOT

# Operators whose result has a size or a value that the host must know.
COUNTING = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "linalg_eigh",
    "masked_select",
    "nonzero",
    "repeat_interleave.Tensor",
    "unique_consecutive",
    "unique_dim",
}


class Waits(TorchDispatchMode):
    """Notes operators that make the host wait, each with the line of this project that asked for it.

    It needs nothing of the driver, unlike `torch.cuda.set_sync_debug_mode`.
    """

    def __init__(self):
        super().__init__()
        self.seen = []
        self.ended = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if _waits(function, args, kwargs, result):
            own = [each for each in traceback.extract_stack() if each.filename.startswith(str(ROOT))]
            own = [each for each in own if "/tests/" not in each.filename and "/.venv/" not in each.filename]
            place = f"{own[-1].filename.removeprefix(f'{ROOT}/')}:{own[-1].lineno}" if own else "?"
            self.seen.append(f"{place} {function}")
        return result


def _waits(function, args, kwargs, result):
    name = str(function).removeprefix("aten.").removesuffix(".default")
    if name == "lift_fresh":  # torch.tensor(values, device="cuda")
        return args[0].is_cuda
    if name in ("_to_copy", "copy_"):
        source = args[0] if name == "_to_copy" else args[1]
        blocks = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
        pinned = all(each.is_cuda or each.is_pinned() for each in (source, result))
        return (
            source.numel() > 0
            and {source.device.type, result.device.type} == {"cpu", "cuda"}
            and (blocks or not pinned)
        )
    if name.partition(".")[0] in ("index", "index_put", "index_put_", "_index_put_impl_") and args[0].is_cuda:
        indices = [each for each in args[1] if each is not None]
        masks = any(each.dtype in (torch.bool, torch.uint8) for each in indices)
        fills = name.startswith(("index_put", "_index_put")) and args[2].numel() == 1  # a mask alone: no wait
        return (masks and not fills) or any(not each.is_cuda for each in indices)
    tensors = [each for each in args if isinstance(each, torch.Tensor)]
    return name in COUNTING and any(each.is_cuda for each in tensors)
