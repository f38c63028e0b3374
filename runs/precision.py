"""Half precision where the processor has none."""

from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn

from runs.trainer_options import on_cpu


def usable_precision(trainer: Any) -> Any:
    """Choose float32 in place of bfloat16 on a CPU that would emulate it.

    On an AMD EPYC with AVX2 only, training steps of convolutional networks took 12 to 24 times as long in bf16-mixed as
    in float32, and oneDNN has no LSTM there.

    Args:
        trainer: The trainer's options.

    Returns:
        Its precision, or "32-true", with a warning.
    """
    asked = trainer.precision
    if not (on_cpu(trainer) and str(asked).startswith("bf16") and torch.backends.cpu.get_cpu_capability() == "AVX2"):
        return asked
    rank_zero_warn(f"trainer.precision: this CPU has no bfloat16; 32-true takes the place of {asked}")
    return "32-true"
