"""Learning rate schedules as Lightning takes them."""

from collections.abc import Sequence
from typing import Any, Literal

from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, ReduceLROnPlateau
from torch.optim import Optimizer

Interval = Literal["epoch", "step"]
PERIODS = ("T_0", "T_max", "step_size", "total_iters")  # of torch's schedules, which divide by them


def planned(
    task: LightningModule, scheduler: LRSchedulerCallable | None, optimizer: Optimizer, interval: Interval
) -> Any:
    """Build a schedule under the name `lr`, and give it with its optimizer as `configure_optimizers` returns them.

    Args:
        task: The task, with its trainer if there is a scheduler.
        scheduler: Maps an optimizer to a schedule; without one the optimizer stands alone.
        optimizer: The only one.
        interval: Step it once an epoch, or at each step of the optimizer; then it gets the number of steps of the whole
            training as `total_steps`, as torch's OneCycleLR takes it.

    Raises:
        ValueError: If the schedule does not take what it is given, or has a period below 1.
    """
    if scheduler is None:
        return {"optimizer": optimizer}
    total = {"total_steps": int(task.trainer.estimated_stepping_batches)} if interval == "step" else {}
    try:
        built = scheduler(optimizer, **total)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"scheduler, with scheduler_interval {interval}: {error}; with `step`, and only then, it is given"
            " total_steps, as OneCycleLR takes them"
        ) from error
    require_periods(built)
    config = {"scheduler": built, "name": "lr", "interval": interval}
    if monitor := getattr(built, "monitor", None):  # Lightning's ReduceLROnPlateau, see BaseTask.on_train_epoch_end
        config |= {"monitor": monitor, "frequency": task.trainer.check_val_every_n_epoch or 1}
    return {"optimizer": optimizer, "lr_scheduler": config}


def step_schedules(task: LightningModule, but: Sequence[Optimizer]) -> None:
    """Step the schedules of manual optimization, at the end of an epoch; one that watches a metric after a validation.

    Args:
        task: The task.
        but: Optimizers whose schedules wait.
    """
    trainer = task.trainer
    validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    schedules = task.lr_schedulers() or []
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        if schedule.optimizer in but:
            continue
        if not isinstance(schedule, ReduceLROnPlateau):
            schedule.step()
        elif validated:
            schedule.step(trainer.callback_metrics[schedule.monitor])


def require_periods(scheduler: Any) -> None:
    """Refuse a schedule that would divide by zero at its first step.

    Raises:
        ValueError: If a period of it is below 1.
    """
    for name in PERIODS:
        period = getattr(scheduler, name, 1)
        if period < 1:
            raise ValueError(f"scheduler: {name} of {type(scheduler).__name__} must be at least 1, got {period}")
