"""The resolved config in the run's folder, and the lock of whoever trains the run."""

from pathlib import Path

from filelock import FileLock
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from lightning_tasks.runs.atomic_writes import NO_ROOM, write_atomic
from lightning_tasks.runs.folders import CARD, FORMER_CARD, lock_run, own_run_folder, remove_if_not_begun, run_folder
from lightning_tasks.runs.paths import shown


class SaveRunConfig(SaveConfigCallback):
    """Writes `config.yaml` to the run's folder; Lightning's own asks the logger for one, and not every logger has.

    While a run is trained, no other process can train it.
    """

    lock: FileLock | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it once, before anything is trained.

        Raises:
            ValueError: If another process trains this run.
        """
        folder = run_folder(trainer)
        if not self.already_saved and trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            if stage == "fit":
                self.lock = lock_run(folder)
            write_atomic(folder / self.config_filename, self.parser.dump(self.config, skip_none=False))
        self.already_saved = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the card of a finished run aside: it is trained longer, and unfinished until that ends."""
        card = run_folder(trainer) / CARD
        if trainer.is_global_zero and card.is_file():
            card.replace(card.with_name(FORMER_CARD))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let others train the run."""
        if self.lock is not None:
            self.lock.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no folder of a run that ended before its first step, as with an option that is refused late.

        An error of writing that does not say where gets the run's folder.
        """
        self.teardown(trainer, pl_module, "fit")
        if not trainer.is_global_zero:
            return
        folder = own_run_folder(trainer)
        if isinstance(exception, OSError) and exception.errno in NO_ROOM and exception.filename is None:
            exception.filename = shown(folder)  # whoever wrote, as a logger, it was there
        if trainer.global_step == 0:
            remove_if_not_begun(folder, Path(self.config.trainer.default_root_dir or "logs"), trainer.loggers)
