"""Loggers: TensorBoard as this project uses it, and any other in the same folder."""

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger

from runs.folders import claim_version
from runs.identity import differences


class ExperimentLogger(TensorBoardLogger):
    """TensorBoard logger whose x axis counts epochs, from 1.

    It claims its version folder when first asked, so that two runs never share one.
    """

    @property
    def version(self) -> int | str:
        """Number of the run."""
        if self._version is None:
            self._version = claim_version(Path(self.root_dir))
        return self._version

    def finalize(self, status: str) -> None:
        """Write what waits; after an error, which is to be shown, another one of writing is left out."""
        with contextlib.suppress(OSError) if status == "failed" else contextlib.nullcontext():
            super().finalize(status)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values; those that come with the number of finished epochs, as Lightning gives it, at their epoch."""
        values = dict(metrics)
        if (finished := values.pop("epoch", None)) is not None:
            # An epoch is finished after its validation and its last log; a test comes later.
            step = int(finished) + (not all(name.startswith("test/") for name in values))
        super().log_metrics(values, step)


def log_card(loggers: Iterable[Logger], card: Path) -> None:
    """Fill TensorBoard's table of hyper-parameters: the options of a run, and its final metrics as `card/<metric>`.

    The metrics have names of their own, since `val/acc` is a curve already, whose last point is not the tested epoch.

    Args:
        loggers: Of the run; those that are not TensorBoard's are left alone.
        card: The run card.
    """
    facts = json.loads(card.read_text())
    options = {name: value for name, (_, value) in differences({}, facts["configuration"]).items() if value is not None}
    metrics = {f"card/{name}": value for name, value in facts["metrics"].items()}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams({"seed": facts["seed"], **options}, metrics, step=facts["epochs"])
            logger.save()


def place_run(trainer: Any, experiment: str, folder: Path | None) -> dict[str, Any]:
    """Say where a run is kept: TensorBoard claims the folder when it starts, other loggers are put into it.

    Args:
        trainer: The trainer's options, in which the loggers that a config names are changed.
        experiment: Name of the experiment.
        folder: Of the run that is gone on with; None for a new one.

    Returns:
        Options that the trainer is to have besides.
    """
    logs = Path(trainer.default_root_dir or "logs").resolve()  # Lightning compares folders as text
    if trainer.logger in (None, True):
        version = folder.name if folder else None
        return {"logger": ExperimentLogger(logs, name=experiment, version=version, default_hp_metric=False)}
    folder = folder.resolve() if folder else logs / experiment / f"version_{claim_version(logs / experiment)}"
    for each in trainer.logger if isinstance(trainer.logger, list) else [trainer.logger] if trainer.logger else []:
        options = each.init_args
        if each.class_path.endswith(".TensorBoardLogger"):
            each.class_path, options.default_hp_metric = "runs.logger.ExperimentLogger", False
        if each.class_path.endswith((".CSVLogger", ".ExperimentLogger")):
            options.save_dir, options.name, options.version = str(logs), experiment, folder.name
        elif "save_dir" in options:
            options.save_dir = str(folder)
    return {"default_root_dir": str(folder)}
