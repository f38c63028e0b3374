"""Batches of drawings, padded in the plainest way: what a data set must make, too."""

import torch
from torch import Tensor

from lightning_tasks.drawings.batch import SketchBatch
from lightning_tasks.drawings.steps import Pen


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
    padding = torch.arange(padded.shape[1]) >= lengths[:, None]
    pens = padded[..., 2].long().masked_fill(padding, Pen.END)
    return SketchBatch.of(padded[..., :2].contiguous(), pens, lengths, words)
