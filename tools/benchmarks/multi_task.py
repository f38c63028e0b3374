"""What three heads and a loss that knows severity cost, against the same network with one head and cross-entropy."""

from pathlib import Path
from typing import Any

from lightning_tasks import CNN, ClassificationTask
from lightning_tasks.cli.main import main
from tools.benchmarks.measure import REPEATS, Comparison, EpochClock, compare, train_epoch

CONFIG = Path(__file__).parents[2] / "configs" / "cifar100_multitask.yaml"


def run(root: str) -> list[Comparison]:
    """Measure epochs of 6,000 images, without validation."""
    words = [f"--config={CONFIG}", f"--data.root={root}", "--data.train_per_class=60", "--trainer.accelerator=cpu"]
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(REPEATS + 1):
        for heads in times:
            cli = main([*words, "--model.severity_loss=expected"], run=False)
            task = cli.model if heads else _one_head(cli.model, cli.config.model.init_args.network.init_args.as_dict())
            clock = EpochClock()
            train_epoch(task, cli.datamodule, clock, "bf16-mixed")
            times[heads].append(clock.seconds)
    name = "epoch of cifar100_multitask.yaml with three heads and the severity loss"
    return [compare(name, "one head, cross-entropy", "s", times[True], times[False], bar=1 / 1.03)]


def _one_head(task: Any, options: dict[str, Any]) -> ClassificationTask:
    """The same task as plain classification."""
    return ClassificationTask(
        task.data_spec,
        network=lambda classes, shape: CNN(classes, shape, **options),
        optimizer=task.optimizer,
        scheduler=task.scheduler,
        scheduler_interval="step",
        label_smoothing=task.loss.label_smoothing,
        channels_last=True,
    )
