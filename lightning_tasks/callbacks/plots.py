"""What plots share: one switch, when they are drawn, whose they are, where they go: a PNG, TensorBoard, others."""

from datetime import UTC, datetime
from typing import Any, ClassVar, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_tasks.base import BaseTask
from lightning_tasks.callbacks.run_card import RunCard
from lightning_tasks.runs.data_spec import NO_IMAGES
from lightning_tasks.runs.folders import run_folder
from lightning_tasks.runs.plot_style import drawable, save_plot, styled


class Plot(Callback):
    """A callback that draws and changes nothing else; the option `--plots false` leaves all of them out.

    Attributes:
        needs: What a task must have to be drawn.
    """

    only_watches = True
    needs: ClassVar[tuple[str, ...]] = ()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a task that cannot be drawn before it is trained.

        Raises:
            ValueError: If it lacks what is needed; says what.
        """
        # Of the class first, since a property may have no value yet.
        has = [hasattr(type(pl_module), name) or hasattr(pl_module, name) for name in self.needs]
        if missing := [name for name, there in zip(self.needs, has, strict=True) if not there]:
            raise ValueError(
                f"callbacks: {type(self).__name__} cannot draw {type(pl_module).__name__}, which has no"
                f" {' and no '.join(missing)}"
            )


class SeriesPlot(Plot):
    """A plot that is drawn after some epochs, and once after the last, whichever that comes to be."""

    draws_last = True

    def is_due(self, epoch: int) -> bool:
        """Say whether to draw after an epoch, counted from 1."""
        raise NotImplementedError

    def draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Draw the state after an epoch, counted from 1."""
        raise NotImplementedError

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if it is time."""
        epoch = trainer.current_epoch + 1
        if self.is_due(epoch):
            self.draw(trainer, pl_module, epoch)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last epoch, unless that has been done."""
        if self.draws_last and not self.is_due(trainer.current_epoch):
            self.draw(trainer, pl_module, trainer.current_epoch)


class PeriodicPlot(SeriesPlot):
    """A plot that is drawn after each n-th epoch, and after the last.

    Args:
        every_n_epochs: Number of epochs from one plot to the next.

    Raises:
        ValueError: If it is below 1.
    """

    def __init__(self, every_n_epochs: int) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        self.every_n_epochs = every_n_epochs

    def is_due(self, epoch: int) -> bool:
        """Say whether the epoch is an n-th."""
        return epoch % self.every_n_epochs == 0


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float, **options: Any) -> Axes:
    """Add axes whose place and size are given in inches, where sizes of letters decide on the layout."""
    whole_width, whole_height = figure.get_size_inches()
    place = left / whole_width, bottom / whole_height, width / whole_width, height / whole_height
    return figure.add_axes(place, **options)


def subject(trainer: Trainer) -> str:
    """Name what a title is about: the data and the network that the task is about, as "CIFAR10 student"."""
    task = cast(BaseTask, trainer.lightning_module)
    data, network = str(task.data_spec["dataset"]), next(iter(task.networks))
    return network if data == NO_IMAGES else drawable(f"{data} {network}")


def class_names(trainer: Trainer) -> list[str]:
    """Give the names of the classes as plots show them."""
    return [drawable(name) for name in trainer.datamodule.class_names]  # type: ignore[attr-defined]


def signature(trainer: Trainer) -> str:
    """Say whose a plot is: experiment, seed, date and the mark of `--plot_id`."""
    cards = [each for each in trainer.callbacks if isinstance(each, RunCard)]  # type: ignore[attr-defined]
    named = [name for card in cards for name in (card.experiment, card.plot_id) if name]
    seed = cast(BaseTask, trainer.lightning_module).seed
    return drawable(", ".join([*named[:1], f"seed {seed}", datetime.now(UTC).date().isoformat(), *named[1:]]))


@styled
def save_figure(trainer: Trainer, figure: Figure, name: str, epoch: int | None = None) -> None:
    """Write a figure to `<run folder>/figures/<name>.png`, and show it in loggers that hold images.

    A series over epochs has a file an epoch, `<name>_<epoch>.png`, and one card with a slider in TensorBoard. Below the
    figure stands whose it is.

    Does nothing on ranks other than zero, and in a fast development run, which has no log folder.

    Args:
        trainer: Trainer of the run that the plot belongs to.
        figure: The figure; made with `matplotlib.figure.Figure`, it needs no closing.
        name: Name of the plot after the group in which loggers show it, as "images/generated"; the file is named
            without. A plot of no group is not shown: loggers have curves of their own.
        epoch: Number of the epoch for a plot of a series; without one, it is the run's only plot of that name.
    """
    folder = run_folder(trainer) / "figures"
    if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    group, _, file = name.rpartition("/")
    path = folder / (f"{file}.png" if epoch is None else f"{file}_{epoch:04d}.png")
    figure.text(0, 0, signature(trainer), va="top", size=7, color="dimgrey")
    save_plot(figure, path, dpi=120)
    step = trainer.current_epoch if epoch is None else epoch
    for logger in trainer.loggers if group else ():
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")
        elif hasattr(logger, "log_image"):  # as Weights & Biases has
            logger.log_image(key=name, images=[str(path)], step=step)
