"""Batches of drawings, as sketch networks see them."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_tasks.drawings.steps import Pen


class SketchBatch(NamedTuple):
    """Drawings of one batch, padded to the longest of them.

    Attributes:
        offsets: (dx, dy) of each step, divided by the standard deviation of the training offsets; 0 where padded.
            Shape (B, T, 2).
        pens: State of the pen after each step, see drawings.Pen; END at the last step of a whole drawing and where
            padded. Shape (B, T), int64.
        lengths: Number of steps, END included. A drawing that was cut has no END. Shape (B,), int64; always on the
            CPU, where a sequence is packed.
        words: Index of the word of each drawing. Shape (B,), int64.
        real: Indices of the steps that are not padding, among the B T flattened steps. Shape (K,), int64.
        drawn: Indices of those that are not END, whose offset means nothing. Shape (N,), int64.
    """

    offsets: Tensor
    pens: Tensor
    lengths: Tensor
    words: Tensor
    real: Tensor
    drawn: Tensor

    @classmethod
    def of(cls, offsets: Tensor, pens: Tensor, lengths: Tensor, words: Tensor) -> Self:
        """Find the real steps, on the CPU: to count them on a GPU, the host would wait for it."""
        real = torch.arange(pens.shape[1]) < lengths[:, None]
        found = (each.flatten().nonzero()[:, 0] for each in (real, real & (pens != Pen.END)))
        return cls(offsets, pens, lengths, words, *found)

    @property
    def mask(self) -> Tensor:
        """Which steps are real: those up to the first END. Shape (B, T), bool."""
        return F.pad(self.pens[:, :-1] != Pen.END, (1, 0), value=True)

    def to(self, device: torch.device) -> Self:
        """Move all but the lengths."""
        moves = (each.to(device, non_blocking=device.type == "cuda") for each in self)
        return type(self)(*moves)._replace(lengths=self.lengths)
