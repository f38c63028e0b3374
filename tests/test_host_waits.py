"""Between log steps a training step does nothing for which the host would wait for a GPU; seen on the CPU."""

import traceback
from pathlib import Path

import pytest
import torch
from helpers.commands import ROOT, make_trainer
from helpers.quickdraw_files import write
from helpers.tree_data import Shares, TreeData
from pytorch_lightning import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from datamodules import BatchCutMix, BatchMixUp, BatchRandomCrop, BatchRandomFlip, DigitsDataModule, QuickDrawDataModule
from lightning_tasks import ByHandTask, ClassificationTask, KDTask, MixtureHead, MultiTask, SketchNetwork, SketchTask
from lightning_tasks.base import all_finite
from lightning_tasks.by_hand import Flatten, Linear, Momentum
from lightning_tasks.losses import DecoupledLoss, HintonLoss
from lightning_tasks.networks import ResNet

PACKAGES = tuple(f"{ROOT / name}/" for name in ("datamodules", "drawings", "lightning_tasks"))
aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense: "a value is read",
    aten.nonzero: "what a mask holds is counted",
    aten.lift_fresh: "a tensor is made of numbers of the host",
    aten.lift_fresh_copy: "a tensor is made of numbers of the host",
}


class Waits(TorchDispatchMode, Callback):
    """Notes the waits of two whole steps, from the end of the second to the end of the fourth."""

    def __init__(self):
        super().__init__()
        self.on = False
        self.noted = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.on = batch_idx in (1, 2)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        reason = WAITS.get(func.overloadpacket)
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_) and any(
            each is not None and each.dtype == torch.bool for each in args[1]
        ):
            reason = "what a mask holds is counted"
        if self.on and reason and (place := _place()):
            self.noted.append(f"{reason}: {place}")
        return func(*args, **kwargs or {})


def _place():
    """Say which line of the project did it; none if that was for a batch that is still on the host."""
    ours = [each for each in traceback.extract_stack() if each.filename.startswith(PACKAGES)]
    if any(each.name in ("__getitems__", "__iter__") for each in ours):
        return None
    # One looks at the classes on the CPU only, the other at lengths, which lie there always.
    if ours and any(f"{name}(" in str(ours[-1].line) for name in ("F.one_hot", "self.encoder")):
        return None
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "elsewhere"


def waits_of_two_steps(task, data):
    task.configure_optimizers = lambda: [] if isinstance(task, ByHandTask) else torch.optim.SGD(task.parameters(), 0.1)
    with Waits() as waits:
        trainer = make_trainer(waits, log_every_n_steps=1000, max_epochs=1)
        trainer.fit(task, data)
    assert trainer.global_step >= 4
    return waits.noted


def small(classes, shape):
    return ResNet(classes, shape, depth=10, width=2)


def digits(*augment):
    return DigitsDataModule(image_size=8, batch_size=20, train_per_class=10, augment=augment)


def kd(teacher_ckpt, **options):
    data = DigitsDataModule(batch_size=20, train_per_class=10)

    def teacher(classes, shape):
        return ResNet(classes, shape, depth=10, width=4)

    return KDTask(data.data_spec, teacher, small, str(teacher_ckpt), **options), data


def test_what_counts_as_a_wait():
    with Waits() as waits:
        waits.on = True
        x = torch.ones(3)
        x.new_tensor(2.0)
        x[x > 0]
        bool(x.all())
        x.nonzero()
        x[torch.ones(2, dtype=torch.long)]
    counts = [sum(noted.startswith(reason) for noted in waits.noted) for reason in dict.fromkeys(WAITS.values())]
    assert counts == [1, 2, 1]


@pytest.mark.parametrize(
    "augment",
    [
        (BatchRandomCrop(1), BatchRandomFlip()),
        (BatchMixUp(0.2, 0.5), BatchCutMix()),
    ],
)
def test_classification(augment, monkeypatch):
    monkeypatch.setattr("datamodules.augment.in_numpy", lambda x: False)  # as on a GPU
    data = digits(*augment)
    assert waits_of_two_steps(ClassificationTask(data.data_spec, small, class_weights=[1.0] * 9 + [2.0]), data) == []


@pytest.mark.parametrize("soft_loss", [HintonLoss(standardise=True), DecoupledLoss()])
@pytest.mark.parametrize("views", [None, 1])
def test_distillation(soft_loss, views, teacher_ckpt):
    assert waits_of_two_steps(*kd(teacher_ckpt, soft_loss=soft_loss, cached_epochs=views)) == []


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("severity_loss", ["scaled", "expected", "soft_labels", "hierarchical"])
def test_several_heads(severity_loss, mixed):
    data = TreeData(augment=[BatchMixUp()] if mixed else None)
    data.batch_size = 1
    task = MultiTask(data.data_spec, Shares, severity_loss=severity_loss, loss_weights="uncertainty")
    assert waits_of_two_steps(task, data) == []


def test_sketches(tmp_path):
    write(tmp_path, ["cat", "bus"])
    data = QuickDrawDataModule(("cat", "bus"), root=str(tmp_path), batch_size=8, val_fraction=0.2, test_fraction=0.2)
    data.prepare_data()
    sizes = {"embedding_size": 3, "encoder_size": 4, "decoder_size": 6, "attention_size": 5, "latent_dim": 2}
    task = SketchTask(data.data_spec, lambda words: SketchNetwork(words, MixtureHead, **sizes))
    assert waits_of_two_steps(task, data) == []


def test_by_hand():
    """One a step, for labels that are no class."""
    data = digits()
    task = ByHandTask(data.data_spec, [Flatten(), Linear(64, 10)], Momentum(0.05))
    waits = waits_of_two_steps(task, data)
    assert [each.partition(".py")[0] for each in waits] == ["a value is read: loss"] * 2


def test_weights_are_checked_in_one_wait():
    numbers = [torch.ones(3), torch.tensor([1.0, torch.nan]), torch.ones(2)]
    for tensors, finite in ((numbers, False), (numbers[::2], True), ([torch.tensor(torch.inf)], False), ([], True)):
        with Waits() as waits:
            waits.on = True
            assert all_finite(tensors) is finite
        assert len(waits.noted) == bool(tensors)
