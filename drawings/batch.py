"""Batches of drawings, as sketch networks see them."""

from typing import NamedTuple

import torch
from torch import Tensor

from drawings.steps import Pen


class SketchBatch(NamedTuple):
    """Drawings of one batch, padded to the longest of them.

    Attributes:
        offsets: (dx, dy) of each step, divided by the standard deviation of the training offsets; 0 where padded.
            Shape (B, T, 2).
        pens: State of the pen after each step, see drawings.Pen; END at the last step of a whole drawing and where
            padded. Shape (B, T), int64.
        lengths: Number of steps, END included. A drawing that was cut has no END. Shape (B,), int64.
        words: Index of the word of each drawing. Shape (B,), int64.
    """

    offsets: Tensor
    pens: Tensor
    lengths: Tensor
    words: Tensor

    @property
    def mask(self) -> Tensor:
        """Which steps are real. Shape (B, T), bool."""
        return torch.arange(self.pens.shape[1], device=self.pens.device) < self.lengths[:, None]


def pad(steps: list[Tensor], words: Tensor, max_length: int) -> SketchBatch:
    """Put drawings into a batch.

    Args:
        steps: Steps (N, 3) of each drawing, as drawings.to_steps makes them, offsets divided already.
        words: Shape (B,), int64.
        max_length: Longer drawings are cut to this many steps, END included.
    """
    ended = [torch.cat([each, each.new_tensor([[0.0, 0.0, Pen.END]])])[:max_length] for each in steps]
    lengths = torch.tensor([len(each) for each in ended])
    padded = torch.nn.utils.rnn.pad_sequence(ended, batch_first=True)
    batch = SketchBatch(padded[..., :2].contiguous(), padded[..., 2].long(), lengths, words)
    return batch._replace(pens=batch.pens.masked_fill(~batch.mask, Pen.END))
