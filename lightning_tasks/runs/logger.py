"""Loggers: TensorBoard as this project uses it, and any other in the same folder."""

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import _DummyExperiment
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from lightning_tasks.runs.folders import claim_version
from lightning_tasks.runs.identity import differences

TABLE = ".hparams"  # at the end of the file of events that holds the table of hyper-parameters


class ExperimentLogger(TensorBoardLogger):
    """TensorBoard logger whose x axis counts epochs, from 1.

    It claims its version folder when first asked, so that two runs never share one. Figures of a test are one point
    each: they stand in the table of hyper-parameters, see `log_card`.

    Attributes:
        writes: Whether there are events; those of an evaluation would be another run to TensorBoard.
    """

    writes = True

    @property
    def experiment(self) -> Any:
        """What writes events."""
        return super().experiment if self.writes else _DummyExperiment()

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
        values = {name: value for name, value in metrics.items() if not name.startswith("test/")}
        if (finished := values.pop("epoch", None)) is not None:
            step = int(finished) + 1  # an epoch is finished after its validation and its last log
        super().log_metrics(values, step)


def log_card(loggers: Iterable[Logger], card: Path, first: Collection[str]) -> None:
    """Fill TensorBoard's table of hyper-parameters: the metrics of a run card, and the options of the run.

    TensorBoard's own columns of metrics show the last point of a curve, which is not the tested epoch, and would need a
    chart of one point for each figure of the test. So all metrics are columns as the options are.

    Args:
        loggers: Loggers of the run; those that are not TensorBoard's are left alone.
        card: The run card.
        first: The metrics whose columns come first.
    """
    # As late as Lightning itself does.
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    facts = json.loads(card.read_text())
    options = {name: value for name, (_, value) in differences({}, facts["configuration"]).items() if value is not None}
    columns = {**facts["metrics"], "seed": facts["seed"], **options}
    plain = {name: value if isinstance(value, (int, float)) else str(value) for name, value in columns.items()}
    experiment, *session = hparams(plain, {})
    data = experiment.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(data.content)
    for column in content.experiment.hparam_infos:
        column.differs = column.name in first  # which TensorBoard puts in front, and then sorts by name
    data.content = content.SerializeToString()
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            for former in Path(logger.log_dir).glob(f"events.*{TABLE}"):  # of this run, before it was trained on
                former.unlink()
            with SummaryWriter(logger.log_dir, filename_suffix=TABLE) as writer:
                for each in (experiment, *session):
                    writer._get_file_writer().add_summary(each)


def place_run(trainer: Any, experiment: str, folder: Path | None) -> dict[str, Any]:
    """Say where a run is kept: TensorBoard claims the folder when it starts, other loggers are put into it.

    Args:
        trainer: The trainer's options, in which the loggers that a config names are changed.
        experiment: Name of the experiment.
        folder: Folder of the run to be resumed; None for a new run.

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
            each.class_path, options.default_hp_metric = "lightning_tasks.runs.logger.ExperimentLogger", False
        if each.class_path.endswith((".CSVLogger", ".ExperimentLogger")):
            options.save_dir, options.name, options.version = str(logs), experiment, folder.name
        elif "save_dir" in options:
            options.save_dir = str(folder)
    return {"default_root_dir": str(folder)}
