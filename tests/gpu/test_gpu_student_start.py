"""A student that is reconstructed on a GPU, and goes on there after a checkpoint."""

import torch
from helpers.commands import make_trainer
from pytorch_lightning import Callback

from datamodules import DigitsDataModule
from lightning_tasks import DFADTask, FeatureLoss, ImageGenerator, ResNet
from lightning_tasks.data_free import (
    BatchNormStatisticsLoss,
    GeneratorObjective,
    GeneratorTraining,
    StudentTraining,
)


class FeatureDevices(Callback):
    def on_train_epoch_end(self, trainer, task):
        self.found = {value.device.type for value in trainer.strategy.lightning_module.student.state_dict().values()}


def make_task(folder):
    data = DigitsDataModule(steps_per_epoch=2)
    task = DFADTask(
        data.data_spec,
        teacher=lambda classes, shape: ResNet(classes, shape, depth=10, width=4),
        student=lambda classes, shape: ResNet(classes, shape, depth=10, width=2),
        teacher_ckpt=str(folder / "teacher.pt"),
        generator=lambda shape: ImageGenerator(shape, width=8),
        generator_training=GeneratorTraining(pretrain_epochs=1),
        objective=GeneratorObjective([BatchNormStatisticsLoss()]),
        student_training=StudentTraining(feature_loss=FeatureLoss(["layer1.0"]), reconstruct=True),
        batch_size=8,
    )
    return task, data


def test_it_is_reconstructed_and_resumed(tmp_path):
    torch.save(ResNet(10, (1, 16, 16), depth=10, width=4).state_dict(), tmp_path / "teacher.pt")
    task, data = make_task(tmp_path)
    trainer = make_trainer(seen := FeatureDevices(), accelerator="gpu", limit_val_batches=0, max_epochs=2)
    trainer.fit(task, data)
    assert seen.found == {"cuda"}
    trainer.save_checkpoint(tmp_path / "left.ckpt", weights_only=False)
    assert len(torch.load(tmp_path / "left.ckpt", map_location="cpu", weights_only=True)["channels"]["layer1.0"]) == 2
    again, data = make_task(tmp_path)
    trainer = make_trainer(seen, accelerator="gpu", limit_val_batches=0, max_epochs=3)
    trainer.fit(again, data, ckpt_path=tmp_path / "left.ckpt")
    assert trainer.current_epoch == 3
