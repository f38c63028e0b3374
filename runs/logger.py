"""Loggers: TensorBoard as this project uses it, and any other in the same folder."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger

from runs.folders import claim_version


class ExperimentLogger(TensorBoardLogger):
    """TensorBoard logger that claims its version folder when first asked, so that two runs never share one."""

    @property
    def version(self) -> int | str:
        """Number of the run."""
        if self._version is None:
            self._version = claim_version(Path(self.root_dir))
        return self._version


def new_folder(experiment: Path) -> Path:
    """Make the folder of a new run of an experiment."""
    return experiment / f"version_{claim_version(experiment)}"


def place_loggers(loggers: Any, logs: Path, folder: Path) -> None:
    """Let the loggers that a config names write into the run's folder.

    Args:
        loggers: Config of a logger with `class_path` and `init_args`, or a list of them, or False; changed in place.
        logs: The log folder.
        folder: The run's, below it.
    """
    for each in loggers if isinstance(loggers, list) else [loggers] if loggers else []:
        options = each.init_args
        if each.class_path.endswith((".CSVLogger", ".TensorBoardLogger")):
            name = str(folder.parent.relative_to(logs))
            options.save_dir, options.name, options.version = str(logs), name, folder.name
        elif "save_dir" in options:
            options.save_dir = str(folder)
