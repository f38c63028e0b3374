"""How many operators a round of data-free distillation gives to a GPU, which would else wait for the host."""

import torch
from helpers.commands import make_trainer
from pytorch_lightning import Callback
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from datamodules import DigitsDataModule
from lightning_tasks import (
    Augmentation,
    BatchNormStatisticsLoss,
    DFADTask,
    DiversityLoss,
    FeatureLoss,
    HintonLoss,
    ImageGenerator,
    MemoryBank,
    OneHotLoss,
    ResNet,
)
from lightning_tasks.data_free import GeneratorObjective, StudentTraining

BLOCKS = [f"layer{stage}.{block}" for stage, count in enumerate((3, 4, 6, 3), start=1) for block in range(count)]


class Operators(TorchDispatchMode, Callback):
    """Counts the operators on the GPU in rounds 3, 4 and 5, without views of tensors, which compute nothing."""

    def __init__(self):
        super().__init__()
        self.rounds = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx in (2, 3, 4):
            self.rounds.append(0)
            self.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx in (2, 3, 4):
            self.__exit__(None, None, None)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        view = any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns)
        tensors = [each for each in tree_leaves((args, result)) if isinstance(each, torch.Tensor)]
        if not view and "empty" not in func.__name__ and any(each.is_cuda for each in tensors):
            self.rounds[-1] += 1
        return result


def test_a_round_with_a_resnet_34(tmp_path):
    """As dfad_plus.yaml has it; the batch, which does not matter, is smaller."""
    data = DigitsDataModule(steps_per_epoch=5)
    torch.save(ResNet(10, data.image_shape, depth=34, width=8).state_dict(), tmp_path / "teacher.pt")
    task = DFADTask(
        data.data_spec,
        teacher=lambda classes, shape: ResNet(classes, shape, depth=34, width=8),
        student=lambda classes, shape: ResNet(classes, shape, depth=34, width=4),
        teacher_ckpt=str(tmp_path / "teacher.pt"),
        student_from_teacher=True,
        generator=lambda shape: ImageGenerator(shape, width=8),
        conditional=True,
        objective=GeneratorObjective(
            [BatchNormStatisticsLoss(1.0), OneHotLoss(0.5), DiversityLoss(5.0)], where_agreed=True, max_shift=4
        ),
        student_training=StudentTraining(feature_loss=FeatureLoss(BLOCKS), soft_loss=HintonLoss(4.0)),
        memory_bank=MemoryBank(64),
        augmentation=Augmentation(),
        gradient_clip_norm=1.0,
        ema_decay=0.99,
        batch_size=4,
    )
    seen = Operators()
    make_trainer(seen, accelerator="gpu", limit_val_batches=0, log_every_n_steps=50).fit(task, data)
    assert len(seen.rounds) == 3
    assert max(seen.rounds) <= 2800
