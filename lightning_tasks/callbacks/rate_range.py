"""Which learning rates a network can learn with."""

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import LearningRateFinder
from pytorch_lightning.utilities import rank_zero_info

from lightning_tasks.callbacks.plots import save_figure, subject
from lightning_tasks.runs.plot_style import styled

BETA = 0.98  # of Lightning's running mean of the losses


class LearningRateRange(LearningRateFinder):
    """Tries greater and greater learning rates before training, draws the losses and says which rate it would take.

    The learning rate range test of Smith 2017, "Cyclical learning rates for training neural networks",
    https://arxiv.org/abs/1506.01186, by Lightning. Weights and random numbers are as before, and training resumes
    the rate of its config: read `figures/learning_rates.png`, then choose.

    Args:
        min_lr: The first rate.
        max_lr: The last; it ends before where the loss is four times the least.
        num_training_steps: How many are tried, one a step.

    Raises:
        ValueError: If a rate is not above 0, or the last not above the first.
    """

    def __init__(self, min_lr: float = 1e-5, max_lr: float = 1.0, num_training_steps: int = 100) -> None:
        if not 0 < min_lr < max_lr or num_training_steps < 2:
            raise ValueError(
                f"expected 0 < min_lr < max_lr and two steps, got {min_lr}, {max_lr}, {num_training_steps}"
            )
        super().__init__(min_lr, max_lr, num_training_steps, update_attr=False)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try the rates.

        Raises:
            ValueError: If the task has no single optimizer of its own.
        """
        if not pl_module.automatic_optimization:
            raise ValueError(
                f"LearningRateRange needs a task of one optimizer, which {type(pl_module).__name__} is not"
            )
        super().on_fit_start(trainer, pl_module)
        if self.optimal_lr is None:  # of a fast_dev_run
            return
        # Lightning 2.6 divides the running mean of n losses by 1 - b^(n + 1), not 1 - b^n: half of the first loss.
        losses = enumerate(self.optimal_lr.results["loss"], 1)
        self.optimal_lr.results["loss"] = [loss * (1 - BETA ** (n + 1)) / (1 - BETA**n) for n, loss in losses]
        if (rate := self.optimal_lr.suggestion()) is not None:
            rank_zero_info(f"learning rate: the loss falls fastest at {rate:.2g}")
        save_figure(trainer, self._drawn(subject(trainer)), "lr/learning_rates")

    @styled
    def _drawn(self, of: str) -> Figure:
        assert self.optimal_lr is not None
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        figure.suptitle(f"{of}: loss by learning rate, in one step each")
        axes = figure.subplots()
        self.optimal_lr.plot(suggest=True, ax=axes)
        axes.xaxis.set_major_formatter(LogFormatter())  # the default one writes powers in TeX
        return figure
