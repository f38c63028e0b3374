"""Several classifications at once: the class of an image, its superclass and its group, from one shared network."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_tasks.classification.task import ClassificationTask
from lightning_tasks.image_task import share_right
from lightning_tasks.losses import CrossEntropyLoss
from lightning_tasks.multi_task.class_tree import ClassTree, Decision, TreeEvaluation, least_severity
from lightning_tasks.multi_task.severity import (
    ExpectedSeverityLoss,
    HierarchicalLoss,
    SeverityLoss,
    SeverityScaledLoss,
    SoftLabelLoss,
    require_costs,
    severity_matrix,
)
from lightning_tasks.multi_task.uncertainty import UncertaintyWeighting
from lightning_tasks.networks import NetworkCallable
from lightning_tasks.runs.data_spec import ImageDataSpec

LEVELS = ("fine", "super", "group")


class MultiTask(ClassificationTask):
    """Trains three parallel linear heads on one network: fine classes, their superclasses, and groups of these.

    The last layer of any network is made wide enough for all heads, so they share what comes before it. Labels are
    those of the classes; what is above follows from the tree that the data have.

    L = sum_t w_t L_t over the three heads, each a cross-entropy; that of the classes may know how severe a mistake is.
    Logs `train/loss`, `train/loss_fine`, `train/loss_super`, `train/loss_group` in nats, and `train/acc_fine`; for
    validation and test `loss` of the fine head, `acc_fine`, `acc_super`, `acc_group`, the errors of the fine head by
    kind (see class_tree.error_scores) and `inconsistent`, the share of images for which the three answers are no path
    of the tree. In the test also with the suffix `_tree`, if answers respect the tree (ClassTree.respecting), and
    `_crm`, if they are those of least expected severity (class_tree.least_severity).

    Args:
        data_spec: See ImageDataSpec; with groups.
        network: The network; it is given the number of all classes, superclasses and groups together, and the image
            shape.
        loss_weights: Weights of the cross-entropy of classes, superclasses and groups; or "uncertainty": learned, see
            UncertaintyWeighting.
        costs: Severity of a mistake within the superclass, within the group, and across groups; increasing. The metrics
            use them too.
        severity_loss: Loss of the classes: "none", the cross-entropy; "scaled", SeverityScaledLoss; "expected",
            ExpectedSeverityLoss; "soft_labels", SoftLabelLoss; "hierarchical", HierarchicalLoss.
        severity_weight: With which the severity enters that loss.
        decision: How `predict` decides: "argmax", each head for itself; "tree" or "least_severity", from the fine head
            alone, with the superclass and the group that follow.
        **options: See ClassificationTask; `label_smoothing` is that of all heads, `class_weights` of the fine one.

    Raises:
        ValueError: If an option is out of range, or the data have no tree.
    """

    monitor = "val/acc_fine"
    headline = ("test/acc_fine", "test/acc_super", "test/acc_group")
    units: Mapping[str, str] = {
        **{f"{score}{suffix}": "severity" for score in ("severity", "cost") for suffix in ("", "_ema")},
        **{f"loss_weight_{level}": "weight" for level in LEVELS},
    }
    watched: Mapping[str, Mapping[str, str]] = {
        "accuracy on validation images": {
            "val/acc_fine": "class",
            "val/acc_super": "superclass",
            "val/acc_group": "group",
            "val/acc_fine_ema": "class, averaged weights",
        },
        "accuracy of classes": {"val/acc_fine": "validation", "train/acc_fine": "training"},
        "cross-entropy of classes": {"val/loss": "validation", "train/loss_fine": "training"},
        "losses of training": {
            "train/loss": "all, by their weights",
            "train/loss_fine": "class",
            "train/loss_super": "superclass",
            "train/loss_group": "group",
        },
    }
    diagnosed: Mapping[str, Mapping[str, str]] = {
        "errors by kind": {
            "val/same_super": "same superclass",
            "val/same_group": "same group",
            "val/across": "across groups",
        },
        "answers that are no path of the tree": {"val/inconsistent": ""},
    }

    def __init__(
        self,
        data_spec: ImageDataSpec,
        network: NetworkCallable,
        loss_weights: tuple[float, ...] | Literal["uncertainty"] = (1.0, 1.0, 1.0),
        costs: tuple[float, ...] = (1.0, 2.0, 3.0),
        severity_loss: Literal["none", "scaled", "expected", "soft_labels", "hierarchical"] = "none",
        severity_weight: float = 1.0,
        decision: Decision = "argmax",
        **options: Any,
    ) -> None:
        if loss_weights == "uncertainty" and options.get("layer_decay", 1.0) < 1:
            raise ValueError("loss_weights: uncertainty is learned at one rate, so layer_decay must be 1")
        super().__init__(data_spec, network, **options)
        self.tree = ClassTree(data_spec["groups"], self.num_classes)
        require_costs(costs, len(LEVELS))
        self.costs = costs
        if decision not in get_args(Decision):
            raise ValueError(f"decision must be one of {', '.join(get_args(Decision))}, got {decision!r}")
        self.decision = decision
        losses: dict[str, Callable[[CrossEntropyLoss, float], SeverityLoss | None]] = {
            "none": lambda *_: None,
            "scaled": SeverityScaledLoss,
            "expected": ExpectedSeverityLoss,
            "soft_labels": SoftLabelLoss,
            "hierarchical": partial(HierarchicalLoss, costs=costs),
        }
        if severity_loss not in losses:
            raise ValueError(f"severity_loss must be one of {', '.join(losses)}, got {severity_loss!r}")
        self.severity_loss = losses[severity_loss](self.loss, severity_weight)
        self.coarse_loss = CrossEntropyLoss(self.loss.label_smoothing)
        self.weighting: UncertaintyWeighting | None = None
        if loss_weights == "uncertainty":
            self.weighting = UncertaintyWeighting(len(LEVELS))
        elif len(loss_weights) != len(LEVELS) or min(loss_weights) < 0 or max(loss_weights) == 0:
            raise ValueError(f"loss_weights must be 3 numbers, none negative, one above 0, got {list(loss_weights)}")
        self.loss_weights = loss_weights
        self.register_buffer("severity", torch.zeros(self.num_classes, self.num_classes), persistent=False)

    @property
    def num_outputs(self) -> int:
        """The heads side by side.

        Raises:
            ValueError: If the data have no tree.
        """
        groups = self.data_spec.get("groups")
        if not groups:
            raise ValueError(
                f"MultiTask needs classes with superclasses and groups, and {self.data_spec['dataset']} has none here;"
                " with CIFAR100DataModule give data.groups, as configs/groups/cifar100.yaml"
            )
        return self.num_classes + sum(map(len, groups.values())) + len(groups)

    def match_class_order(self, theirs: Mapping[str, Any] | None, of: str) -> None:
        """Do what every task does, and learn the superclass of each class."""
        super().match_class_order(theirs, of)
        if levels := self.data_spec.get("class_levels"):
            self.tree.grow(levels["superclass"])
            self.severity = severity_matrix(self.tree.ancestors, self.costs).to(self.device)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits of the classes (B, num_classes)."""
        return self.network(x)[:, : self.num_classes]

    # Training

    def training_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Weigh the losses of the three heads, side by side (B, num_outputs); see ClassificationTask for y."""
        fine, *above = outputs.split(self.tree.sizes, dim=1)
        losses = [self.loss(fine, y) if self.severity_loss is None else self.severity_loss(fine, y, self.severity)]
        losses += [self.coarse_loss(head, each) for head, each in zip(above, self.tree.coarse(y), strict=True)]
        for level, each in zip(LEVELS, losses, strict=True):
            self.track(f"loss_{level}", each, len(y))
        if self.weighting is None:
            loss = sum(weight * each for weight, each in zip(self.loss_weights, losses, strict=True))
        else:
            loss = self.weighting(torch.stack(losses))
            for level, weight in zip(LEVELS, self.weighting.weights, strict=True):
                self.track(f"loss_weight_{level}", weight, len(y))
        self.track("loss", loss, len(y))
        self.track("acc_fine", share_right(fine, y), len(y))
        return loss

    def _trained(self) -> list[Any]:
        """Let the optimizer have the learned weights too; they do not decay."""
        if self.weighting is None:
            return super()._trained()
        return [{"params": super()._trained()}, {"params": [*self.weighting.parameters()], "weight_decay": 0.0}]

    # Evaluation

    def new_evaluation(self) -> TreeEvaluation:
        """Judge by the tree."""
        return TreeEvaluation(self.tree, self.severity)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Evaluate a batch; returns the logits of the classes (B, num_classes), for plots."""
        return super().test_step(batch, batch_idx)[:, : self.num_classes]

    def predict_step(  # type: ignore[override]
        self, batch: tuple[Tensor, Tensor], batch_idx: int
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
        """Return the answer (B,) on each level and its probability (B,), and the labels (B,)."""
        x, y = batch
        heads = self.evaluated("test")[""](x).float().split(self.tree.sizes, dim=1)
        if self.decision == "argmax":
            levels = [head.softmax(dim=1) for head in heads]
            answers = [p.argmax(dim=1) for p in levels]
        else:
            p = heads[0].softmax(dim=1)
            levels = self.tree.levels(p)
            fine = self.tree.respecting(p) if self.decision == "tree" else least_severity(p, self.severity)
            answers = [fine, *self.tree.coarse(fine)]
        found = zip(LEVELS, answers, levels, strict=True)
        return {level: (each, p.gather(1, each[:, None])[:, 0]) for level, each, p in found}, y

    # What plots ask for

    @property
    def level_names(self) -> dict[str, list[str]]:
        """Names of superclasses ("super") and groups ("group"), by number."""
        return self.tree.names

    @property
    def level_confusions(self) -> dict[str, Tensor]:
        """Counts of the last test, rows true and columns answered by the head: superclasses and groups."""
        counts: nn.ModuleDict = self.evaluations["test"].counts  # type: ignore[assignment]
        return {level: counts[level].compute() for level in LEVELS[1:]}  # type: ignore[operator]
