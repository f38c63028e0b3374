"""The answers of the test: samples with confidence, the worst mistakes, and how far confidence can be trusted."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_tasks.callbacks.plots import Plot, class_names, save_figure, subject
from lightning_tasks.runs.plot_style import BLUE, VERMILLION, styled

Answer = tuple[str, str, float]  # true class, predicted class and its probability
COLUMNS = 8  # of images, at most
LEGEND = "\ntrue class above; predicted class and its probability below (blue if right)"


class AnswersPlot(Plot):
    """Collects the answers of a test, in the order of the test set. Works with tasks whose `test_step` gives logits.

    Attributes:
        confidence: The greatest probability for each image. Shape (N,).
        predicted: Its class. Shape (N,).
        labels: The true class. Shape (N,).
    """

    needs = ("test_confusion",)  # then a batch has labels, and an answer is of classes

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keep the answers to a batch."""
        confidence, predicted = outputs.float().softmax(dim=1).max(dim=1)
        self._batches.append((confidence, predicted, batch[1]))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        parts = (torch.cat(each).cpu() for each in zip(*self._batches, strict=True))
        self.confidence, self.predicted, self.labels = parts
        self.draw(trainer)

    def draw(self, trainer: Trainer) -> None:
        """Draw what has been collected."""
        raise NotImplementedError

    def surest(self, chosen: Tensor) -> Tensor:
        """Sort the indices (n,) of images by confidence, the greatest first."""
        return chosen[self.confidence[chosen].argsort(descending=True, stable=True)]

    def answered(self, trainer: Trainer, chosen: Tensor) -> tuple[Tensor, list[Answer]]:
        """Give the images (n, C, H, W), uint8, of indices (n,), and the answer to each."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        names, indices = class_names(trainer), chosen.tolist()
        answers = [(names[self.labels[i]], names[self.predicted[i]], self.confidence[i].item()) for i in indices]
        return data.test_set.__getitems__(indices)[0], answers


class PredictionsPlot(AnswersPlot):
    """Draws the first test images as `figures/predictions.png` and the worst mistakes as `figures/mistakes.png`.

    Each has its true class above, and the predicted one with its probability below: blue if right, red if wrong. The
    worst mistakes are the wrong answers of the greatest confidence.

    Args:
        num_images: Images in each plot.
    """

    def __init__(self, num_images: int = 32) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.num_images = num_images

    def draw(self, trainer: Trainer) -> None:
        """Draw both."""
        worst = self.surest(torch.nonzero(self.predicted != self.labels).flatten())
        of = subject(trainer)
        total = len(self.labels)
        plots = {
            "predictions": (torch.arange(total), f"{of}: the first of {total} test images{LEGEND}"),
            "mistakes": (worst, f"{of}: the most confident of {len(worst)} mistakes on {total} test images{LEGEND}"),
        }
        for name, (order, title) in plots.items():
            if len(order):
                images, answers = self.answered(trainer, order[: self.num_images])
                save_figure(trainer, draw_answers(images, answers, title), f"test/{name}")


class ReliabilityPlot(AnswersPlot):
    """Draws how often answers of a confidence are right, as `figures/reliability.png`.

    The expected calibration error is the mean over all answers of `|accuracy - confidence|` of their bin (Guo et al.
    2017, "On calibration of modern neural networks", https://arxiv.org/abs/1706.04599, eq. 3).

    Args:
        num_bins: Bins of equal width on [0, 1].
    """

    def __init__(self, num_bins: int = 15) -> None:
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}")
        self.num_bins = num_bins

    def draw(self, trainer: Trainer) -> None:
        """Draw accuracy by confidence."""
        counts, accuracy, confidence = calibration(self.confidence, self.predicted == self.labels, self.num_bins)
        figure = draw_reliability(counts, accuracy, confidence, subject(trainer))
        save_figure(trainer, figure, "test/reliability")


def calibration(confidence: Tensor, right: Tensor, num_bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put answers into bins of confidence.

    Args:
        confidence: Shape (N,), in [0, 1].
        right: Whether the answer was right. Shape (N,).
        num_bins: Number of bins of equal width; a value on a border belongs to the bin above it, 1 to the last.

    Returns:
        Of each bin the number of answers, their accuracy and their mean confidence; 0 in empty bins.
    """
    bins = (confidence * num_bins).long().clamp(max=num_bins - 1)
    counts = torch.bincount(bins, minlength=num_bins)
    sums = [torch.bincount(bins, weights=each.double(), minlength=num_bins) for each in (right, confidence)]
    accuracy, mean = (each / counts.clamp(min=1) for each in sums)
    return counts.numpy(), accuracy.numpy(), mean.numpy()


def calibration_error(counts: np.ndarray, accuracy: np.ndarray, confidence: np.ndarray) -> float:
    """Compute the expected calibration error from bins, see `calibration`."""
    return float((counts * np.abs(accuracy - confidence)).sum() / counts.sum())


def draw_answers(images: Tensor, answers: list[Answer], title: str) -> Figure:
    """Draw images with the true class above, and the predicted one with its probability below.

    Args:
        images: Shape (N, C, H, W), uint8; C is 1 or 3.
        answers: True class, predicted class and its probability, of each image.
        title: Above all.
    """
    return draw_bands([("", images, answers)], title)


@styled
def draw_bands(bands: list[tuple[str, Tensor, list[Answer]]], title: str, judged: bool = True) -> Figure:
    """Draw bands of images, each with a title of its own, as `draw_answers` draws one.

    Args:
        bands: Title, images (N, C, H, W), and answers of each; see `draw_answers`.
        title: Above all.
        judged: Whether predicted classes are blue or red; else what stands above is no class, but a name.
    """
    columns = min(COLUMNS, max(len(images) for _, images, _ in bands))
    rows = [-(-len(images) // columns) for _, images, _ in bands]
    longest = max(len(name) for *_, answers in bands for answer in answers for name in answer[:2])
    width = max(1.25, 0.075 * (longest + 6))
    heights = [1.6 * count + (0.2 if name else 0) for count, (name, *_) in zip(rows, bands, strict=True)]
    figure = Figure(figsize=(columns * width + 0.3, sum(heights) + 0.5), layout="constrained")
    figure.suptitle(title, size=11)
    parts = figure.subfigures(len(bands), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, count, (name, images, answers) in zip(parts, rows, bands, strict=True):
        if name:
            part.suptitle(name, x=0.01, ha="left", size=10, weight="bold")
        grid = part.subplots(count, columns, squeeze=False)
        for axes in grid.flat[len(images) :]:
            axes.set_axis_off()
        for axes, image, answer in zip(grid.flat, images, answers, strict=False):
            _draw_answer(axes, image, *answer, judged=judged)
    return figure


def _draw_answer(axes: Axes, image: Tensor, true: str, predicted: str, probability: float, judged: bool) -> None:
    axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.set_title(true, size=8, pad=3)
    color = (BLUE if predicted == true else VERMILLION) if judged else "black"
    axes.set_xlabel(f"{predicted} {probability:.0%}", size=8, color=color, labelpad=3)


@styled
def draw_reliability(counts: np.ndarray, accuracy: np.ndarray, confidence: np.ndarray, of: str) -> Figure:
    """Draw the accuracy of each bin of confidence beside the line of equal confidence, and how many answers it has.

    Args:
        counts: Number of answers in each bin.
        accuracy: Share of right ones.
        confidence: Their mean confidence.
        of: Network whose predictions they are.
    """
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    width = 1 / len(counts)
    middles = (np.arange(len(counts)) + 0.5) * width
    upper.bar(middles, accuracy, 0.92 * width, color=BLUE, label="accuracy")
    filled = counts > 0
    upper.plot(confidence[filled], accuracy[filled], "k.", label="mean confidence of a bin")
    upper.plot([0, 1], [0, 1], "k--", linewidth=0.8, label="perfect calibration")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of right answers")
    upper.set_title(f"{of}: expected calibration error {calibration_error(counts, accuracy, confidence):.2%}", size=11)
    upper.legend(loc="upper left", fontsize=9)
    lower.bar(middles, counts / counts.sum(), 0.92 * width, color="grey")
    lower.set(xlabel="confidence", ylabel="share of answers")
    return figure
