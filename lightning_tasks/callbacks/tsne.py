"""Features of a layer as points in the plane."""

from typing import TYPE_CHECKING, cast

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from sklearn.manifold import TSNE

from lightning_tasks.callbacks.pictures import Picture, save_figure

if TYPE_CHECKING:
    from lightning_tasks import ImageTask


class TSNEPicture(Picture):
    """Draws the features that a layer has of test images with t-SNE, as `figures/tsne_<layer>_<epoch>.png`.

    Neighbours in the picture are neighbours in the layer's output; distances between far groups mean nothing (van der
    Maaten and Hinton 2008, "Visualizing data using t-SNE"). The images are the same each time.

    Args:
        layer: Name of a layer: a key of the task's `named_modules`, or "relu_3" ... of a network by hand.
        epochs: Draw after these epochs; 1 is the first, -1 the last.
        num_images: The first test images, at most this many.
        perplexity: About how many neighbours each point should have; less where there are few images.
    """

    def __init__(
        self, layer: str, epochs: tuple[int, ...] = (1, -1), num_images: int = 1000, perplexity: float = 30.0
    ) -> None:
        if 0 in epochs or min(epochs, default=0) < -1:
            raise ValueError(f"epochs must be at least 1, or -1 for the last, got {epochs}")
        if num_images < 4 or perplexity <= 0:
            raise ValueError(f"num_images must be at least 4 and perplexity above 0, got {num_images}, {perplexity}")
        self.layer = layer
        self.epochs = epochs
        self.num_images = num_images
        self.perplexity = perplexity

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the images, and refuse a name that no layer has before a long run."""
        self.images, self.labels = trainer.datamodule.test_samples(self.num_images)  # type: ignore[attr-defined]
        count, width = self._features(pl_module).shape
        if count < 4 or width < 2:
            raise ValueError(f"t-SNE of {self.layer} needs at least 4 images and 2 features, got {count} and {width}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if this is one of the epochs."""
        if trainer.current_epoch + 1 in self.epochs:
            self._draw(trainer, pl_module, trainer.current_epoch + 1)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last epoch, whichever it was."""
        if -1 in self.epochs and trainer.current_epoch not in self.epochs:
            self._draw(trainer, pl_module, trainer.current_epoch)

    def _features(self, pl_module: LightningModule) -> np.ndarray:
        task = cast("ImageTask", pl_module)
        output = task.layer_outputs(self.images.to(pl_module.device), [self.layer])[self.layer]
        return output.flatten(1).float().cpu().numpy()

    def _draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        features = self._features(pl_module)
        perplexity = min(self.perplexity, (len(features) - 1) / 3)
        points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
        names = trainer.datamodule.class_names  # type: ignore[attr-defined]
        title = f"t-SNE of {self.layer} after epoch {epoch}, {len(points)} test images"
        figure = draw_points(points, self.labels.numpy(), names, title)
        save_figure(trainer, figure, f"tsne_{self.layer}", epoch)


def draw_points(points: np.ndarray, labels: np.ndarray, names: list[str], title: str) -> Figure:
    """Draw points in the colour of their class; up to 20 classes are listed.

    Args:
        points: Shape (N, 2).
        labels: Class of each point. Shape (N,).
        names: Names of the classes.
        title: Above all.
    """
    figure = Figure(figsize=(7.5, 6), layout="constrained")
    axes = figure.subplots()
    classes = len(names)
    colours = colormaps["tab10" if classes <= 10 else "tab20" if classes <= 20 else "turbo"].resampled(classes)
    for label in range(classes):
        chosen = labels == label
        axes.scatter(points[chosen, 0], points[chosen, 1], s=14, color=colours(label), label=names[label])
    axes.set(title=title, xticks=[], yticks=[])
    if classes <= 20:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, markerscale=1.5, frameon=False)
    return figure
