"""A training step of SketchTask against the decoder run step by step, and against the same padded to 300."""

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules import QuickDrawDataModule
from lightning_tasks import RegressionHead, SketchNetwork
from lightning_tasks.drawings.batch import SketchBatch
from lightning_tasks.drawings.steps import Pen
from lightning_tasks.sketch.network import Memory, as_vectors
from tools.benchmarks.measure import Comparison, compare, seconds

PAIRS = 3
SIZES = {"encoder_size": 128, "decoder_size": 256, "latent_dim": 64, "dropout": 0.0}  # of quickdraw_sketch.yaml


def run(root: str) -> list[Comparison]:
    """Measure on the real drawings: batches of 32, of the shortest, the middle and the longest lengths of an epoch."""
    data = QuickDrawDataModule(root=root)
    data.prepare_data()
    assert data.train_set is not None
    batches = sorted(data.train_dataloader(), key=lambda batch: batch.pens.shape[1])
    batches = [batches[0], batches[len(batches) // 2], batches[-1]]
    torch.manual_seed(0)
    network = SketchNetwork(len(data.class_names), RegressionHead, **SIZES)  # type: ignore[arg-type]
    for batch in batches[:1]:
        torch.testing.assert_close(_loss(network, batch), _loss(network, batch, loop=True), rtol=1e-4, atol=1e-4)

    def steps(loop: bool, length: int = 0) -> None:
        for batch in batches:
            network.zero_grad()
            _loss(network, _padded(batch, length) if length else batch, loop).backward()

    ours, theirs, padded = [], [], []
    for _ in range(PAIRS + 1):
        ours.append(seconds(lambda: steps(loop=False)) / len(batches))
        theirs.append(seconds(lambda: steps(loop=True)) / len(batches))
        padded.append(seconds(lambda: steps(loop=True, length=300)) / len(batches))
    name = "training step of SketchNetwork, batch 32"
    return [
        compare(name, "the decoder step by step, same batches", "s", ours, theirs, 1.3),
        compare(name, "the decoder step by step, padded to 300", "s", ours, padded, 1.3),
    ]


def _padded(batch: SketchBatch, length: int) -> SketchBatch:
    more = length - batch.pens.shape[1]
    return batch._replace(
        offsets=F.pad(batch.offsets, (0, 0, 0, more)), pens=F.pad(batch.pens, (0, more), value=int(Pen.END))
    )


def _loss(network: SketchNetwork, batch: SketchBatch, loop: bool = False) -> Tensor:
    """Compute the loss of both modes, as SketchTask does."""
    whole, latent = network.encode(batch)
    mask = batch.mask
    drawn = mask & (batch.pens != Pen.END)
    loss = latent.mean.square().mean()
    for memory in (whole, network.word_memory(batch.words)):
        decode = _step_by_step if loop else SketchNetwork.decode
        described, logits = decode(network, batch, latent.mean, memory)
        loss = loss + network.offset.score(described[drawn], batch.offsets[drawn]).mean()
        loss = loss + F.cross_entropy(logits[mask], batch.pens[mask])
    return loss


def _step_by_step(network: SketchNetwork, batch: SketchBatch, z: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Do what SketchNetwork.decode does as most public code does: each step through all layers, then the next."""
    states_1, states_2 = network._initial(z)
    told = F.pad(as_vectors(batch.offsets, batch.pens)[:, :-1], (0, 0, 1, 0))
    said = []
    for step in range(told.shape[1]):
        hidden, states_1 = network.first(network._inputs(told[:, step : step + 1], batch.words, z), states_1)
        context, memory = network._attend(hidden, memory)
        features, states_2 = network.second(torch.cat([hidden, context], dim=-1), states_2)
        said.append(network._say(features, context))
    described, logits = (torch.cat(each, dim=1) for each in zip(*said, strict=True))
    return described, logits
