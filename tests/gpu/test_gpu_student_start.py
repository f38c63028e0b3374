"""A student that is reconstructed on a GPU, and goes on there after a checkpoint."""

import torch
from helpers.commands import make_trainer

from datamodules import DigitsDataModule
from lightning_tasks import DFADTask, FeatureLoss, ImageGenerator, ResNet
from lightning_tasks.data_free import (
    BatchNormStatisticsLoss,
    GeneratorObjective,
    GeneratorTraining,
    StudentTraining,
)


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


def channel_devices(task):
    """Keep where the channels are with which features are compared."""
    seen = set()
    hints = task.student_training.feature_loss.hints

    def record(teacher, shapes, batches, channels):
        seen.update(each.device.type for each in channels.values())
        return hints(teacher, shapes, batches, channels)

    task.student_training.feature_loss.hints = record
    return seen


def test_it_is_reconstructed_and_resumed(tmp_path):
    torch.save(ResNet(10, (1, 16, 16), depth=10, width=4).state_dict(), tmp_path / "teacher.pt")
    options = {"accelerator": "gpu", "limit_val_batches": 0}
    task, data = make_task(tmp_path)
    seen = channel_devices(task)
    trainer = make_trainer(max_epochs=2, **options)
    trainer.fit(task, data)
    assert seen == {"cuda"}
    trainer.save_checkpoint(tmp_path / "left.ckpt", weights_only=False)
    again, data = make_task(tmp_path)
    seen = channel_devices(again)
    make_trainer(max_epochs=3, **options).fit(again, data, ckpt_path=tmp_path / "left.ckpt")
    assert seen == {"cuda"}
