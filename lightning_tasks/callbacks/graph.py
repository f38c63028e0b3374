"""The network as a graph, for TensorBoard."""

import contextlib
import io
import warnings
from typing import cast

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_info

from lightning_tasks.base import BaseTask
from lightning_tasks.callbacks.plots import Plot
from lightning_tasks.networks import ImageNetwork, eval_mode


class NetworkGraph(Plot):
    """Shows the network that a task is about, the first of its `networks`, in TensorBoard's graph tab.

    Of networks from images to scores; others, and those that cannot be traced, have no graph.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Trace the network, before the task compiles it and the strategy moves it."""
        network = next(iter(cast(BaseTask, pl_module).networks.values()))
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if stage != "fit" or not trainer.is_global_zero or not isinstance(network, ImageNetwork):
            return
        for logger in loggers:
            said = io.StringIO()
            try:
                # PyTorch calls its tracer deprecated, and prints what it cannot trace.
                with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(said), eval_mode(network):
                    logger.experiment.add_graph(network, torch.zeros(1, *network.image_shape))
            except Exception as error:  # of as many kinds as there are networks; no run fails for the want of a graph
                rank_zero_info(f"graph: none in TensorBoard ({' '.join(str(error).split())[:100]})")
