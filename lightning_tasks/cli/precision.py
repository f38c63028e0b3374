"""Precisions that the processor has, and the fast kernels of a GPU."""

from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn

from lightning_tasks.cli.trainer_options import on_cpu, on_cuda


def usable_precision(trainer: Any) -> Any:
    """Choose another precision in place of bfloat16 where it would be emulated.

    On an AMD EPYC with AVX2 only, training steps of convolutional networks took 12 to 24 times as long in bf16-mixed as
    in float32, and oneDNN has no LSTM there. GPUs before Ampere have float16 alone.

    Args:
        trainer: The trainer's options.

    Returns:
        Its precision; else, with a warning, "32-true", or "16-mixed" in place of bf16-mixed on a GPU.
    """
    asked = trainer.precision
    if not str(asked).startswith("bf16"):
        return asked
    if on_cpu(trainer) and torch.backends.cpu.get_cpu_capability() == "AVX2":
        processor, instead = "CPU", "32-true"
    elif on_cuda(trainer) and not torch.cuda.is_bf16_supported(including_emulation=False):
        processor, instead = "GPU", "32-true" if asked == "bf16-true" else "16-mixed"
    else:
        return asked
    rank_zero_warn(f"trainer.precision: this {processor} has no bfloat16; {instead} takes the place of {asked}")
    return instead


def fast_kernels(trainer: Any) -> bool | None:
    """Let a GPU multiply float32 numbers in TF32, with 10 bits after the point, unless the run is deterministic.

    Args:
        trainer: The trainer's options.

    Returns:
        Its option `benchmark`: whether cuDNN tries which of its kernels is fastest. By default it does on a GPU, unless
        the run is deterministic, since another try may choose another.
    """
    if not on_cuda(trainer):
        return trainer.benchmark
    fast = not trainer.deterministic
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.allow_tf32 = fast
    return fast if trainer.benchmark is None else trainer.benchmark
