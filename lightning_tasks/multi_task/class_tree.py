"""How answers to classes of a tree are decided and judged."""

from typing import Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from lightning_tasks.image_task import Evaluation, accuracy

Decision = Literal["argmax", "tree", "least_severity"]


class ClassTree(nn.Module):
    """Classes, the superclass of each and the group of each superclass.

    Args:
        groups: Names of the superclasses in each group. Superclasses are numbered in alphabetical order, as CIFAR-100
            numbers them, and groups in the order given.
        num_classes: Number of classes.

    Attributes:
        names: Names of the superclasses ("super") and of the groups ("group"), by number.
        sizes: Number of classes, superclasses and groups.
        ancestors: Number of the superclass and of the group of each class. Shape (2, num_classes), int64; zero until
            `grow`, and part of a checkpoint.
    """

    ancestors: Tensor

    def __init__(self, groups: dict[str, list[str]], num_classes: int) -> None:
        super().__init__()
        self._group_of = {name: group for group, names in groups.items() for name in names}
        self.names = {"super": sorted(self._group_of), "group": list(groups)}
        self.sizes = (num_classes, *map(len, self.names.values()))
        self.register_buffer("ancestors", torch.zeros(2, num_classes, dtype=torch.long))

    def grow(self, superclasses: list[str]) -> None:
        """Learn the name of the superclass of each class from the data set.

        Raises:
            ValueError: If classes and superclasses do not make up the tree.
        """
        if len(superclasses) != self.sizes[0] or set(superclasses) != set(self.names["super"]):
            raise ValueError(f"the superclasses of the data are not those of their groups: {sorted(set(superclasses))}")
        groups = [self._group_of[name] for name in superclasses]
        numbers = [[*map(self.names["super"].index, superclasses)], [*map(self.names["group"].index, groups)]]
        self.ancestors.copy_(torch.tensor(numbers))

    def coarse(self, y: Tensor) -> list[Tensor]:
        """Give the superclasses and the groups of classes y (B,), or of soft labels (B, num_classes) in float32."""
        if y.ndim == 1:
            return [level[y] for level in self.ancestors]
        return [self._sums(y.float(), level) for level in (0, 1)]

    def levels(self, p: Tensor) -> list[Tensor]:
        """Sum probabilities of classes (B, num_classes) to those of all levels, the classes themselves first."""
        return [p, self._sums(p, 0), self._sums(p, 1)]

    def _sums(self, p: Tensor, level: int) -> Tensor:
        return p.new_zeros(len(p), self.sizes[1 + level]).index_add_(1, self.ancestors[level], p)

    def respecting(self, p: Tensor) -> Tensor:
        """Decide from the top: the likeliest group, in it the likeliest superclass, in it the likeliest class.

        Args:
            p: Probabilities of the classes (B, num_classes); those of the levels above are their sums.

        Returns:
            Classes (B,), whose superclass and group are the answers on the levels above.
        """
        p, p_super, p_group = self.levels(p)
        outside = self.ancestors[1] != p_group.argmax(dim=1)[:, None]  # (B, num_classes)
        superclass = p_super[:, self.ancestors[0]].masked_fill(outside, -1).argmax(dim=1)
        outside = self.ancestors[0] != self.ancestors[0][superclass][:, None]
        return p.masked_fill(outside, -1).argmax(dim=1)

    def consistent(self, classes: list[Tensor]) -> Tensor:
        """Say of classes, superclasses and groups, each (B,), whether they are one path of the tree. Shape (B,)."""
        fine, *above = classes
        return torch.stack([level[fine] == each for level, each in zip(self.ancestors, above, strict=True)]).all(dim=0)


def least_severity(p: Tensor, severity: Tensor) -> Tensor:
    """Decide for the class of least expected severity, argmin_c sum_k p_k S[k, c].

    Conditional risk minimisation, as Karthik et al. 2021, "No cost likelihood manipulation at test time for making
    better mistakes in deep networks", https://arxiv.org/abs/2104.00795, equation 1, use it without new training.

    Args:
        p: Probabilities (B, C), float32.
        severity: S above (C, C), see multi_task.severity.

    Returns:
        Classes (B,).
    """
    with torch.autocast(p.device.type, enabled=False):  # else a product in half precision
        return (p @ severity.to(p.dtype)).argmin(dim=1)


def error_scores(confusion: Tensor, ancestors: Tensor, severity: Tensor) -> dict[str, Tensor]:
    """Judge classes by their tree.

    Args:
        confusion: Number of samples of each true (row) and answered (column) class. Shape (C, C).
        ancestors: Superclass and group of each class. Shape (2, C).
        severity: Cost of each answer for each class. Shape (C, C).

    Returns:
        `acc_fine`, `acc_super` and `acc_group`: shares of samples whose answer is right on that level; `severity`: mean
        severity of the errors, and `cost`, of all answers; `same_super`, `same_group` and `across`: shares of the
        errors by the nearest level that is right, 0 if there are no errors.
    """
    same_super, same_group = (level[:, None] == level for level in ancestors)
    counts = confusion.double()
    right = counts.trace()
    in_super, in_group = (counts * same_super).sum(), (counts * same_group).sum()
    samples, cost = counts.sum(), (counts * severity).sum()
    errors = (samples - right).clamp(min=1)
    return {
        "acc_fine": right / samples,
        "acc_super": in_super / samples,
        "acc_group": in_group / samples,
        "severity": cost / errors,
        "cost": cost / samples,
        "same_super": (in_super - right) / errors,
        "same_group": (in_group - in_super) / errors,
        "across": (samples - in_group) / errors,
    }


class TreeEvaluation(Evaluation):
    """Counts the answers of three heads, and of the decisions that follow from the probabilities of the classes.

    Args:
        tree: Tree of the classes.
        severity: Cost of each answer for each class. Shape (C, C).
    """

    def __init__(self, tree: ClassTree, severity: Tensor) -> None:
        super().__init__(tree.sizes[0])
        self._tree = [tree]  # in a list, since it is the task's child
        self.register_buffer("costs", severity, persistent=False)
        sizes = {"super": tree.sizes[1], "group": tree.sizes[2], "_tree": tree.sizes[0], "_crm": tree.sizes[0]}
        self.counts = nn.ModuleDict(
            {name: MulticlassConfusionMatrix(size, sync_on_compute=False) for name, size in sizes.items()}
        )
        self.inconsistent = MeanMetric(sync_on_compute=False)

    def reset(self) -> None:
        """Start counting anew."""
        super().reset()
        for each in (*self.counts.values(), self.inconsistent):
            each.reset()  # type: ignore[operator]

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Take in what the heads say, side by side (B, sum of sizes), of images with labels y (B,)."""
        tree = self._tree[0]
        fine, *above = logits.float().split(tree.sizes, dim=1)
        super().update(fine, y)
        for name, head, truth in zip(("super", "group"), above, tree.coarse(y), strict=True):
            self.counts[name].update(head, truth)  # type: ignore[operator]
        classes = [head.argmax(dim=1) for head in (fine, *above)]
        self.inconsistent.update(1 - tree.consistent(classes).float())
        p = fine.softmax(dim=1)
        self.counts["_tree"].update(tree.respecting(p), y)  # type: ignore[operator]
        self.counts["_crm"].update(least_severity(p, self.costs), y)  # type: ignore[operator,arg-type]

    def log(self, task: LightningModule, stage: str, suffix: str) -> None:
        """Log the scores of the three heads, and in the test those of the other decisions beside them."""
        counts = {"": self.confusion} | {name: each for name, each in self.counts.items() if name.startswith("_")}
        for name, confusion in counts.items() if stage == "test" else [("", self.confusion)]:
            scores = error_scores(confusion.compute(), self._tree[0].ancestors, self.costs)  # type: ignore[operator,arg-type]
            if not name:
                scores |= {f"acc_{level}": accuracy(self.counts[level].compute()) for level in ("super", "group")}  # type: ignore[operator]
                scores |= {"inconsistent": self.inconsistent.compute(), "loss": self.mean_loss.compute()}
            for score, value in scores.items():
                shown = score == "acc_fine" and stage == "val" and not suffix
                task.log(f"{stage}/{score}{name}{suffix}", value.float(), prog_bar=shown, sync_dist=True)
