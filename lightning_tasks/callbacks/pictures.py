"""Where pictures go: a PNG in the run's figures folder, and TensorBoard."""

from pathlib import Path

from matplotlib.figure import Figure
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger


def save_figure(trainer: Trainer, figure: Figure, name: str) -> None:
    """Write a figure to `<log folder>/figures/<name>.png` and show it in TensorBoard under the same name.

    Does nothing on ranks other than zero, and in a fast development run, which has no log folder.

    Args:
        trainer: Of the run that the picture belongs to; its current epoch is TensorBoard's step.
        figure: The figure; made with `matplotlib.figure.Figure`, it needs no closing.
        name: File name without ending; a part before a slash groups figures in TensorBoard only.
    """
    if not trainer.is_global_zero or trainer.fast_dev_run:
        return
    folder = Path(trainer.log_dir or trainer.default_root_dir) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure, trainer.current_epoch)
