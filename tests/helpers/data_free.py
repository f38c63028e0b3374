"""Small data-free tasks."""

import inspect

from pytorch_lightning import Callback

from datamodules import DigitsDataModule
from lightning_tasks import DFADTask, ImageGenerator, ResNet
from lightning_tasks.data_free import GeneratorObjective, GeneratorTraining, StudentTraining

PARTS = {"student": StudentTraining, "generator": GeneratorTraining, "objective": GeneratorObjective}


def make_task(teacher_ckpt, student_width=2, generator_width=4, **options):
    """A task on digits; `student_steps` is an option of its StudentTraining, `objective_losses` of its objective."""
    given = {name: {} for name in PARTS}
    for option in list(options):
        part, _, name = option.partition("_")
        if part in PARTS and name in inspect.signature(PARTS[part]).parameters:
            given[part][name] = options.pop(option)
    options |= {
        {"objective": "objective"}.get(part, f"{part}_training"): PARTS[part](**values)
        for part, values in given.items()
        if values
    }
    data = DigitsDataModule(steps_per_epoch=2, test_per_class=10)
    task = DFADTask(
        data.data_spec,
        teacher=lambda classes, shape: ResNet(classes, shape, depth=10, width=4),
        student=lambda classes, shape: ResNet(classes, shape, depth=10, width=student_width),
        teacher_ckpt=str(teacher_ckpt),
        **{
            "generator": lambda shape: ImageGenerator(shape, latent_dim=8, width=generator_width),
            "batch_size": 8,
            **options,
        },
    )
    return task, data


class Recorder(Callback):
    """Keeps the order of the steps, and the gradients that each optimizer step is about to use."""

    def __init__(self):
        self.steps = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        player = "student" if optimizer is trainer.optimizers[0] else "generator"
        network = getattr(pl_module, player)
        self.steps.append((player, [p.grad.clone() for p in network.parameters()]))
