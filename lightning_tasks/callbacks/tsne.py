"""Features of a layer as points in the plane."""

from typing import cast

import numpy as np
import torch
from matplotlib import colormaps, patheffects
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.manifold import TSNE
from torch import Tensor

from lightning_tasks.callbacks.plots import SeriesPlot, class_names, save_figure, subject
from lightning_tasks.image_task import ImageTask
from lightning_tasks.runs.plot_style import COLOURS, MARKERS, drawable, styled

FEW = 20


class TSNEPlot(SeriesPlot):
    """Draws the features that a layer has of test images with t-SNE, as `figures/tsne_<layer>_<epoch>.png`.

    TensorBoard's projector gets the features themselves, with class and image of each, to be turned and searched.

    Up to 20 classes have each its colour. Of more, all of one group have one, on the farthest level of the data's tree.

    Neighbours in the plot are neighbours in the layer's output; distances between far groups mean nothing (van der
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
        self.draws_last = -1 in epochs
        self.num_images = num_images
        self.perplexity = perplexity

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the images, and refuse a name that no layer has before a long run."""
        self.images, self.labels = trainer.datamodule.test_samples(self.num_images)  # type: ignore[attr-defined]
        count, width = self._features(pl_module).shape
        if count < 4 or width < 2:
            raise ValueError(f"t-SNE of {self.layer} needs at least 4 images and 2 features, got {count} and {width}")

    def is_due(self, epoch: int) -> bool:
        """Say whether the epoch is one of those asked for."""
        return epoch in self.epochs

    def draw(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Draw the features that the layer has now."""
        features = self._features(pl_module)
        perplexity = min(self.perplexity, (len(features) - 1) / 3)
        points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
        data = trainer.datamodule  # type: ignore[attr-defined]
        title = f"{subject(trainer)} after epoch {epoch}: t-SNE of {self.layer}, {len(points)} test images"
        farthest = next(([drawable(name) for name in level] for level in reversed(data.class_levels.values())), None)
        figure = draw_points(points, self.labels.numpy(), class_names(trainer), title, farthest)
        save_figure(trainer, figure, f"layers/tsne_{self.layer}", epoch)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            images = data.test_set.__getitems__(list(range(len(features))))[0]
            self._project(trainer, features, [data.class_names[label] for label in self.labels], images, epoch)

    def _project(self, trainer: Trainer, features: np.ndarray, names: list[str], images: Tensor, epoch: int) -> None:
        """Give features, classes and images to TensorBoard's projector."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_embedding(
                    torch.from_numpy(features), names, images.float() / 255, epoch, f"features_{self.layer}"
                )

    def _features(self, pl_module: LightningModule) -> np.ndarray:
        output = cast(ImageTask, pl_module).layer_outputs(self.images, [self.layer])[self.layer]
        return output.flatten(1).float().cpu().numpy()


@styled
def draw_points(
    points: np.ndarray, labels: np.ndarray, names: list[str], title: str, groups: list[str] | None = None
) -> Figure:
    """Draw points in the colour of their class; up to 20 classes are listed, more are named where they are.

    Where more classes have groups, the colour is that of the group, and the groups are listed.

    Args:
        points: Shape (N, 2).
        labels: Class of each point. Shape (N,).
        names: Names of the classes.
        title: Above all.
        groups: Name of the group of each class.
    """
    few = len(names) <= FEW
    coloured = names if few or groups is None else groups
    listed = list(dict.fromkeys(coloured))  # without repetition, in order
    figure = Figure(figsize=(6.8, 5.2) if few else (12, 11), layout="constrained")
    axes = figure.subplots()
    many = colormaps["turbo"].resampled(len(listed))
    for index, name in enumerate(listed):
        chosen = points[np.isin(labels, [label for label, its in enumerate(coloured) if its == name])]
        repeated, colour = divmod(index, len(COLOURS))
        look = {"color": COLOURS[colour], "marker": MARKERS[repeated]} if len(listed) <= FEW else {"color": many(index)}
        axes.scatter(chosen[:, 0], chosen[:, 1], s=14, label=name, **look)
    if not few:
        outline = [patheffects.withStroke(linewidth=2, foreground="white")]
        for label, (x, y) in name_places(points, labels).items():
            axes.text(x, y, names[label], ha="center", va="center", size=8, path_effects=outline)
        kind = "class" if coloured is names else "group of classes"
        title += f"\na {kind} has one colour, a class its name on a point near its middle"
    axes.set_title(title, size=11)
    axes.set(xticks=[], yticks=[])
    if len(listed) <= FEW:
        axes.legend(
            axes.collections,
            listed,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            fontsize=10,
            markerscale=1.5,
            frameon=False,
        )
    return figure


def name_places(points: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Choose a point of each class for its name.

    Of the half of them that is nearest to all of the class, the one that is farthest from the names placed before.

    Args:
        points: Shape (N, 2).
        labels: Class of each point. Shape (N,).

    Returns:
        The place (2,) of each class that has points.
    """
    places: dict[int, np.ndarray] = {}
    for label in np.unique(labels).tolist():
        chosen = points[labels == label]
        ways = np.linalg.norm(chosen[:, None] - chosen, axis=2).sum(axis=1)
        inner = chosen[np.argsort(ways, kind="stable")[: (len(chosen) + 1) // 2]]
        others = np.array([*places.values()]).reshape(-1, 2)
        # A name is some five times as wide as it is high.
        apart = np.linalg.norm((inner[:, None] - others) * (1, 5), axis=2).min(axis=1, initial=np.inf)
        places[label] = inner[apart.argmax()]
    return places
