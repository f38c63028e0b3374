"""What every distillation shares: a student, its frozen teacher, and how far they agree."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_tasks.frozen_teacher import FrozenTeacher
from lightning_tasks.image_task import ImageTask
from lightning_tasks.networks import (
    NetworkCallable,
    Outputs,
    build_network,
    build_teacher,
    count_parameters,
    select_weights,
)
from lightning_tasks.runs.data_spec import ImageDataSpec

SHARE_TOLERANCE = 0.01
ACCURACY_TOLERANCE = 0.03  # and two standard errors, of the images that are looked at
AGREEMENT = "agreement with the teacher"
JUDGED_IMAGES = 1000  # at most, on which a teacher is tried


class DistillationTask(ImageTask):
    """A student learns to answer as a frozen teacher does; subclasses say from which images.

    Logs `val/agreement` and `test/agreement`, the share of images on which student and teacher give the same class,
    and `test/acc_teacher`, on top of ImageTask's metrics.

    Args:
        data_spec: See ImageDataSpec; it must be the teacher's.
        teacher: The network that `teacher_ckpt` holds.
        student: The network that learns.
        teacher_ckpt: A checkpoint, the folder of a run or an experiment, or weights alone, see FrozenTeacher.load; None
            for a network that comes with its weights, as NetworkFile.
        teacher_acc: Accuracy of the teacher on images of its data, in [0, 1]; that of its checkpoint if not given. A
            teacher that is worse on validation images by 3 points and two standard errors stops the run: then classes,
            mean or std are others.
        teacher_ema: Whether the teacher has the averaged weights of its checkpoint, not those of its last step.
        teacher_outputs: What the teacher gives. Of `probabilities`, as of a network of one's own that ends in softmax,
            the logarithm is taken.
        student_share: Parameters of the student as a share of the teacher's that must hold within 0.01.
        student_from_teacher: Whether the student starts with evenly chosen weights of the teacher, see select_weights,
            in place of random ones.
        ema_decay: Keep and evaluate an average of the student with this decay, see ImageTask.average.
        compile: See BaseTask.
        channels_last: See BaseTask.

    Raises:
        ValueError: If the student's share is not the one asked for, it cannot be a part of the teacher and should start
            so, or the teacher's checkpoint does not fit network or data.
    """

    watched: Mapping[str, Mapping[str, str]] = {
        "accuracy on validation images": {
            "val/acc": "student",
            "val/acc_ema": "student, averaged weights",
            "val/acc_teacher": f"teacher, on up to {JUDGED_IMAGES:,} of them",
        },
        AGREEMENT: {"val/agreement": "validation images"},
    }

    def __init__(
        self,
        data_spec: ImageDataSpec,
        teacher: NetworkCallable,
        student: NetworkCallable,
        teacher_ckpt: str | None,
        student_share: float | None = None,
        ema_decay: float | None = None,
        compile: bool = False,
        channels_last: bool = False,
        teacher_acc: float | None = None,
        teacher_ema: bool = False,
        student_from_teacher: bool = False,
        teacher_outputs: Outputs = "logits",
    ) -> None:
        super().__init__(data_spec, compile, channels_last)
        if teacher_acc is not None and not 0 <= teacher_acc <= 1:
            raise ValueError(f"teacher_acc must be in [0, 1], got {teacher_acc}")
        self.teacher_acc = teacher_acc
        self.teacher_ckpt = teacher_ckpt
        self.teacher_ema = teacher_ema
        self.student_from_teacher = student_from_teacher
        self.student = build_network(student, self.num_classes, self.image_shape)
        network = build_teacher(teacher, self.num_classes, self.image_shape, teacher_outputs)
        self.teacher = FrozenTeacher(network, trained=isinstance(teacher, nn.Module))
        self._check_share(student_share)
        if student_from_teacher:  # so that what cannot be is refused before the teacher is read
            self._start_from_teacher()
        self.average(self.student, ema_decay)
        self._teacher_loaded = False
        self.agreement = MulticlassAccuracy(self.num_classes, average="micro", sync_on_compute=False)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.student, "teacher": self.teacher.network}

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the student's logits (B, num_classes)."""
        return self.student(x)

    def _check_share(self, wanted: float | None) -> None:
        student, teacher = count_parameters(self.student), count_parameters(self.teacher.network)
        if not teacher:
            if wanted is not None:
                raise ValueError("student_share: the teacher has no parameters that could be counted")
            return
        share = student / teacher
        self.run_facts["student_share"] = round(share, 4)
        said = f"{student:,} parameters, {share:.1%} of the teacher's {teacher:,}"
        if wanted is not None and abs(share - wanted) > SHARE_TOLERANCE:
            raise ValueError(f"student_share: the student has {said}; asked for {wanted:.0%} +- {SHARE_TOLERANCE:.0%}")

    def _start_from_teacher(self) -> None:
        try:
            select_weights(self.student.inner, self.teacher.network.inner)
        except ValueError as error:
            raise ValueError(f"student_from_teacher: {error}") from None

    # The teacher

    def prepare_data(self) -> None:
        """Do what every task does, and refuse a teacher that does not fit before anything of the run is written."""
        super().prepare_data()
        if self.trainer.state.fn != "predict":
            self._load_teacher()

    def setup(self, stage: str) -> None:
        """Load the teacher, then what every task does; the classes take the teacher's order."""
        if stage != "predict":
            self._load_teacher()
        if stage == "fit" and self.student_from_teacher:  # before a checkpoint brings the weights of a resumed run
            self._start_from_teacher()
        super().setup(stage)
        self.match_class_order(self.teacher.data_spec, f"teacher_ckpt: {self.teacher_ckpt} was trained")
        if self.teacher.fast is not self.teacher.network:
            self.make_fast(self.teacher.fast, stage)

    def _load_teacher(self) -> None:
        if not self._teacher_loaded:
            self.run_facts |= self.teacher.load(self.teacher_ckpt, "teacher_ckpt", self.data_spec, self.teacher_ema)
            # The checkpoint names the file, not the folder, in which another may be the newest by then.
            self.hparams["teacher_ckpt"] = self.run_facts["teacher_ckpt"]
            self._teacher_loaded = True

    def on_fit_start(self) -> None:
        """Compare the teacher's accuracy on validation images with what is said of it.

        Raises:
            ValueError: If it is much lower.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        images = getattr(data, "val_set", None)
        if images is None or not hasattr(data, "normalise") or not self.trainer.limit_val_batches:
            return
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:JUDGED_IMAGES]
        right = 0
        with torch.no_grad(), self.trainer.precision_plugin.forward_context():
            for group in chosen.split(self.trainer.datamodule.eval_batch_size):  # type: ignore[attr-defined]
                x, y = (each.to(self.device) for each in images.__getitems__(group.tolist()))
                logits = self.teacher(data.normalise(x.float() / 255).to(self.dtype))
                right += int((logits.argmax(dim=1) == y).sum())
        found = self.constants["val/acc_teacher"] = right / len(chosen)
        said = f"{found:.1%} of {len(chosen):,} validation images"
        rank_zero_info(f"teacher: {said} right")
        expected = self.teacher.accuracy if self.teacher_acc is None else self.teacher_acc
        if expected is None:
            return
        error = (expected * (1 - expected) / len(chosen)) ** 0.5
        if found < expected - ACCURACY_TOLERANCE - 2 * error:
            whose = "its checkpoint" if self.teacher_acc is None else "teacher_acc"
            raise ValueError(
                f"teacher_ckpt: the teacher answers {said} right, and {whose} says {expected:.1%}; are the classes,"
                " their order, data.mean and data.std those that it was trained with?"
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on, or to be compared, with another teacher than the one the student learnt from.

        Raises:
            ValueError: If the loaded teacher is not the checkpoint's.
        """
        theirs = checkpoint.get("run_facts", {})
        ours = self.run_facts.get("teacher_sha256")
        if ours and theirs.get("teacher_sha256", ours) != ours:
            raise ValueError(
                f"teacher_ckpt: the student learnt from {theirs['teacher_ckpt']}, and"
                f" {self.run_facts['teacher_ckpt']} is another teacher; name the former"
            )
        super().on_load_checkpoint(checkpoint)

    # Evaluation

    def evaluated(self, stage: str) -> dict[str, Any]:
        """Evaluate the teacher too, once, in the test."""
        networks = super().evaluated(stage)
        return {**networks, "_teacher": self.teacher} if stage == "test" else networks

    def _reset(self, stage: str) -> None:
        super()._reset(stage)
        self.agreement.reset()

    def _evaluate(self, stage: str, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        logits = super()._evaluate(stage, x, y)
        logits_t = logits["_teacher"] if "_teacher" in logits else self.teacher(x)
        self.agreement.update(logits[""], logits_t.argmax(dim=1))
        return logits

    def _log(self, stage: str) -> None:
        super()._log(stage)
        self.log(f"{stage}/agreement", self.agreement.compute(), prog_bar=stage == "val", sync_dist=True)
