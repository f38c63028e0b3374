"""How long a fit has taken, and how long it will."""

import math
import time
from collections import deque
from statistics import fmean
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, Timer

from lightning_tasks.callbacks.run_card import RunCard
from lightning_tasks.runs.formatting import duration
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.runs.remedies import cpu_config

ENOUGH_SECONDS, ENOUGH_BATCHES = 3.0, 5  # for the first estimate, if the first epoch does not end before
RECENT_EPOCHS = 5  # whose mean the next ones are taken to last
LONG = 12 * 3600.0  # seconds; a run that takes a CPU longer is meant for a GPU


class Clock(Callback):
    """Measures epochs, and says in one line how long the fit will take as soon as the first steps show it.

    It reads the time of the host only, and waits for no device.
    """

    only_watches = True

    def __init__(self) -> None:
        self.seconds_an_epoch: float | None = None
        self._recent: deque[float] = deque(maxlen=RECENT_EPOCHS)
        self._said = False
        self._waits = False  # whether a student waits for its generator

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start."""
        self._start = time.perf_counter()
        self._first_step = trainer.global_step
        validated_every = trainer.check_val_every_n_epoch or 1
        self._recent = deque(maxlen=max(RECENT_EPOCHS, validated_every))  # as many validations as there will be

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an epoch; measure anew where a student begins to learn."""
        waits = getattr(pl_module, "pretrains_generator", False)
        if self._waits and not waits:
            self._recent.clear()
            self.seconds_an_epoch, self._said = None, False
        self._waits = waits
        self._epoch_start = self._second_batch = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Estimate in the first epoch, from the second batch on: the first one may compile, or start workers."""
        if batch_idx == 1:
            self._second_batch = time.perf_counter()
        if self._recent or batch_idx <= ENOUGH_BATCHES:
            return
        seconds = time.perf_counter() - self._second_batch
        if seconds > ENOUGH_SECONDS:
            self.seconds_an_epoch = seconds / (batch_idx - 1) * trainer.num_training_batches
            self._say(trainer, trainer.current_epoch + batch_idx / trainer.num_training_batches)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the epoch into account."""
        self._recent.append(time.perf_counter() - self._epoch_start)
        self.seconds_an_epoch = fmean(self._recent)
        self._say(trainer, trainer.current_epoch + 1)

    @property
    def elapsed(self) -> float:
        """Seconds since training has started, in this process."""
        return time.perf_counter() - self._start

    def left(self, trainer: Trainer, done: float) -> str:
        """Say how long training will go on, as "12 min" or "at most 12 min"; nothing while that is not known.

        Args:
            trainer: A trainer during `fit`.
            done: Epochs that are done, the part of a running one included.
        """
        if not (ends := self._ends(trainer, done)):
            return ""
        stops = any(isinstance(each, EarlyStopping) for each in trainer.callbacks)  # type: ignore[attr-defined]
        bound = "at least " if self._waits else "at most " if stops else ""
        return f"{bound}{duration(max(0.0, min(ends.values())))}"

    def _ends(self, trainer: Trainer, done: float) -> dict[str, float]:
        """Give the seconds until each of the trainer's limits is reached; none before the first estimate."""
        if not self.seconds_an_epoch:
            return {}
        timers = [each for each in trainer.callbacks if isinstance(each, Timer)]  # type: ignore[attr-defined]
        ends = {"max_time": left for each in timers if (left := each.time_remaining()) is not None}
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            ends["max_epochs"] = (trainer.max_epochs - done) * self.seconds_an_epoch
        if trainer.max_steps >= 0 and trainer.global_step > self._first_step:
            a_step = self.elapsed / (trainer.global_step - self._first_step)
            ends["max_steps"] = (trainer.max_steps - trainer.global_step) * a_step
        return {limit: seconds for limit, seconds in ends.items() if math.isfinite(seconds)}

    def _say(self, trainer: Trainer, done: float) -> None:
        """Say it once, if there is more to come; in the generator's pretraining also that it will take longer."""
        if self._said or not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._said = True
        if trainer.should_stop or done == trainer.max_epochs or not (left := self.left(trainer, done)):
            return
        said = f"{'about ' if left[0].isdigit() else ''}{left} left on this machine"
        ends = self._ends(trainer, done)
        if min(ends, key=ends.__getitem__) == "max_epochs":
            epochs = math.ceil(trainer.max_epochs - done)  # type: ignore[operator]
            said += f" for {epochs:,} {'epochs' if epochs > 1 else 'epoch'} at this pace"
        if not self._recent:
            said += ", plus validation and plots"
        if self._waits:
            said += "; epochs that train the student take longer"
        print(said, flush=True)
        if min(ends.values()) > LONG and trainer.strategy.root_device.type == "cpu":
            cards = [each for each in trainer.callbacks if isinstance(each, RunCard)]  # type: ignore[attr-defined]
            if other := next(filter(None, (cpu_config(card.experiment) for card in cards)), None):
                print(f"this is meant for a GPU; on a CPU: {PROGRAM} fit --config {other}", flush=True)
