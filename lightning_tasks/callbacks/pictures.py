"""What pictures share: one switch, and where they go: a PNG in the run's figures folder, and TensorBoard."""

from matplotlib.figure import Figure
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from runs.folders import run_folder


class Picture(Callback):
    """A callback that draws and changes nothing else; the option `--pictures false` leaves all of them out."""

    only_watches = True


def save_figure(trainer: Trainer, figure: Figure, name: str, epoch: int | None = None) -> None:
    """Write a figure to `<run folder>/figures/<name>.png` and show it in TensorBoard under the same name.

    A series over epochs has a file an epoch, `<name>_<epoch>.png`, and one card with a slider in TensorBoard.

    Does nothing on ranks other than zero, and in a fast development run, which has no log folder.

    Args:
        trainer: Of the run that the picture belongs to.
        figure: The figure; made with `matplotlib.figure.Figure`, it needs no closing.
        name: Of the picture.
        epoch: Number of the epoch for a picture of a series; without one, it is the run's only picture of that name.
    """
    folder = run_folder(trainer) / "figures"
    if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = name if epoch is None else f"{name}_{epoch:04d}"
    figure.savefig(folder / f"{file}.png", dpi=120, bbox_inches="tight")
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure, trainer.current_epoch if epoch is None else epoch)
