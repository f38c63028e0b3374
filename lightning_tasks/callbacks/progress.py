"""How a fit gets on: a bar in a terminal, a line an epoch elsewhere."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.text import Text

from lightning_tasks.callbacks.clock import Clock
from lightning_tasks.runs.checkpoints import BestCheckpoint
from lightning_tasks.runs.formatting import duration

LOSSES = ("loss", "loss_student", "loss_generator")  # the first that a task tracks is shown, else any other loss


class ProgressLines(ProgressBar):
    """Prints a line an epoch, for files and the logs of schedulers: the two numbers that matter, and the time.

    Args:
        clock: Measures the fit; a callback of the same trainer, before this one.
    """

    only_watches = True

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self._enabled = True
        self._validation: dict[str, float] = {}

    def disable(self) -> None:
        """Print nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what the line is to show."""
        if not trainer.sanity_checking:
            self._validation = validation_metric(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line; without the validation metric after an epoch without validation."""
        numbers = training_loss(trainer) | self._validation
        self._validation = {}
        if not self._enabled or not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch + 1
        words = [_epoch(trainer), *(f"{name} {value:#.4g}" for name, value in numbers.items())]
        words += [f"{duration(self.clock.elapsed)} so far"]
        if not trainer.should_stop and (left := self.clock.left(trainer, epoch)) and epoch != trainer.max_epochs:
            words.append(f"{left} left")
        print(", ".join(words), flush=True)


class CompactProgressBar(RichProgressBar):
    """Epoch, bar, batches, time left of the fit, then the two numbers that matter, on one line of 80 columns.

    Args:
        clock: See ProgressLines.
    """

    only_watches = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(refresh_rate=25)  # at each batch, drawing costs more than a small network's step
        self.clock = clock
        self._loss: dict[str, float] = {}
        self._validation: dict[str, float] = {}

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Name the columns before the metrics."""
        return [
            TextColumn("[progress.description]{task.description}"),
            BarColumn(bar_width=4),
            MofNCompleteColumn(),
            _TimeLeft(self),
        ]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict:
        """Give the numbers as they were last read, by short names: the player for its loss."""
        numbers = self._loss | self._validation
        return {name.removeprefix("loss_"): f"{value:#.4g}" for name, value in numbers.items()}

    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from 1; Lightning has no public place for it."""
        return _epoch(self.trainer).capitalize()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read the loss where the task has logged it, after the batch before: reading waits for the device."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.is_enabled and every and batch_idx and batch_idx % every == 0:
            self._loss = training_loss(trainer)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the validation metric."""
        if not trainer.sanity_checking:
            self._validation = validation_metric(trainer, pl_module)
        super().on_validation_end(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away: the result comes in its place."""
        super().on_test_end(trainer, pl_module)
        if self.progress is not None and self.test_progress_bar_id is not None:
            self.progress.update(self.test_progress_bar_id, visible=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the loss of the epoch, and draw it: the next epoch may begin before the bar would be drawn again."""
        self._loss = training_loss(trainer)
        super().on_train_epoch_end(trainer, pl_module)
        self.refresh(hard=True)


class _TimeLeft(ProgressColumn):
    """Time until training ends, beside its bar only."""

    def __init__(self, bar: CompactProgressBar) -> None:
        super().__init__()
        self.bar = bar

    def render(self, task: Task) -> Text:
        trainer = self.bar.trainer
        if task.id != self.bar.train_progress_bar_id or not task.total or not trainer.training:
            return Text()
        done = trainer.current_epoch + task.completed / task.total
        left = self.bar.clock.left(trainer, done)
        ended = 0 < (trainer.max_epochs or -1) <= done
        said = duration(self.bar.clock.elapsed) if ended else left and f"{left} left"
        return Text(said, style="progress.remaining")


def progress(console: Console) -> list[Callback]:
    """Give the callbacks that show how a fit gets on: a bar where the console can move its cursor, else lines."""
    clock = Clock()
    return [clock, CompactProgressBar(clock) if console.is_interactive or console.is_jupyter else ProgressLines(clock)]


def training_loss(trainer: Trainer) -> dict[str, float]:
    """Read the loss that says most, as the task has last shown it, by its name; nothing if there is none.

    At the end of an epoch to be called on all ranks: whatever else was logged is reduced over them.
    """
    shown = trainer.progress_bar_metrics
    names = [*LOSSES, *(name for name in shown if name.startswith("loss"))]
    return next(({name: shown[name]} for name in names if name in shown), {})


def validation_metric(trainer: Trainer, task: LightningModule) -> dict[str, float]:
    """Read the metric that chooses the checkpoint, by its name; nothing if there is none. On all ranks, as above."""
    monitors = [each.monitor for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
    name = next(iter(monitors), getattr(task, "monitor", None))
    value = trainer.callback_metrics.get(str(name))
    return {} if value is None else {str(name): value.item()}


def _epoch(trainer: Trainer) -> str:
    number, most = trainer.current_epoch + 1, trainer.max_epochs or -1
    return f"epoch {number:>{len(str(most))}}/{most}" if most > 0 else f"epoch {number}"
