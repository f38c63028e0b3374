"""Sketches from words: a network that draws step by step."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from lightning_tasks.base import BaseTask
from lightning_tasks.drawings.batch import SketchBatch
from lightning_tasks.drawings.steps import Pen
from lightning_tasks.networks import NetworkCallable, eval_mode
from lightning_tasks.runs.data_spec import SketchDataSpec
from lightning_tasks.schedules import planned
from lightning_tasks.sketch.losses import divergence
from lightning_tasks.sketch.metrics import Scores, StepEvaluation, lengths_and_ends, novelty, precision_recall
from lightning_tasks.sketch.network import Memory, SketchNetwork, SketchNetworkCallable
from lightning_tasks.sketch.recogniser import Recogniser
from lightning_tasks.sketch.writer import SketchWriter

# What the decoder may attend to, by the suffix of the metrics: see SketchNetwork.
MODES = {"generate": "", "reconstruct": "_reconstruct"}


class SketchTask(BaseTask):
    """Trains a network to draw what a word says, and to redraw a drawing: see SketchNetwork for the two modes.

    The loss is the score of the offsets and the cross-entropy of the pen, each a mean over the real steps of a batch
    and over the modes that are trained, plus the divergence of the latent vectors by a weight that grows: kl_weight
    (1 - (1 - kl_start) kl_decay^step) (Ha and Eck 2018, https://arxiv.org/abs/1704.03477, section 3.3, and their code).

    Logs `train/loss` and its parts `loss_offset`, `loss_pen`, `loss_latent`. In validation and test, with the mean
    latent vector: `loss_offset`, `loss_pen`, `pen_acc`, `pen_acc_balanced` (mean over the states of the pen, since
    most are DOWN) of `generate`, and with `_reconstruct`; `divergence`; and `loss`, of `generate` with the divergence
    at its full weight. With a mixture head `nll`, nats a step: minus the log-likelihood of offsets and pens, given the
    latent vector.

    In the test the network also draws `sketches_per_word` sketches of each word from the word alone: `test/endless`
    (share that `max_length` had to stop), `test/steps` and `test/steps_real` (mean number), `test/novelty` and
    `test/novelty_real` (median distance from the nearest training drawing, see sketch.metrics.novelty; of copies it is
    0, and of real test drawings it is `_real`). With a recogniser: `test/recognised` (share that it gives the word),
    `test/recognised_real` (of the test drawings), `test/recognised_redrawn` (of these as the network is told them, cut
    at max_length), `test/recognised_reconstructed`, and `test/precision`, `test/recall` of its features.

    Args:
        data_spec: See SketchDataSpec.
        network: The network; the number of words is given to it by the task.
        optimizer: Optimizer of all parameters. Default: AdamW.
        scheduler: Learning rate schedule, stepped at each step of the optimizer, with its number as `total_steps`.
        reconstruct_every: Train `reconstruct` at each n-th step only: it is soon learnt, being mostly a copy.
        kl_weight: See above.
        kl_start: See above.
        kl_decay: See above.
        kl_floor: Lower bound of the divergence in the loss, in nats per latent number (equation 13): below it nothing
            is gained by knowing still less of the drawing.
        temperature: Sampling temperature of the test, the plots and `predict`.
        sketches_per_word: Number of sketches drawn of each word in the test.
        recogniser: A classifier of drawings that `recogniser_ckpt` holds.
        recogniser_ckpt: See FrozenTeacher.load; no recognition is measured without.

    Raises:
        ValueError: If an option is out of range, or the recogniser is of other words or parts.
    """

    monitor = "val/loss"
    prediction_writer = SketchWriter
    mode = "min"
    headline = ("test/pen_acc", "test/recognised", "test/recognised_reconstructed", "test/endless", "test/loss")
    watched: Mapping[str, Mapping[str, str]] = {
        "loss": {"val/loss": "validation, from the word alone", "train/loss": "training"},
        "pen of the next step foreseen": {
            "val/pen_acc": "from the word alone",
            "val/pen_acc_reconstruct": "attending to the drawing",
        },
        "loss of offsets": {
            "val/loss_offset": "validation, from the word alone",
            "val/loss_offset_reconstruct": "validation, attending to the drawing",
            "train/loss_offset": "training",
        },
        "loss of the pen": {
            "val/loss_pen": "validation, from the word alone",
            "val/loss_pen_reconstruct": "validation, attending to the drawing",
            "train/loss_pen": "training",
        },
    }
    offset_std: Tensor

    def __init__(
        self,
        data_spec: SketchDataSpec,
        network: SketchNetworkCallable = SketchNetwork,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        reconstruct_every: int = 1,
        kl_weight: float = 0.5,
        kl_start: float = 0.01,
        kl_decay: float = 0.99995,
        kl_floor: float = 0.2,
        temperature: float = 0.4,
        sketches_per_word: int = 200,
        recogniser: NetworkCallable | None = None,
        recogniser_ckpt: str | None = None,
    ) -> None:
        super().__init__(data_spec)
        self.save_hyperparameters()
        if not (0 <= kl_start <= 1 and 0 <= kl_decay <= 1 and kl_weight >= 0 and kl_floor >= 0):
            raise ValueError(
                "kl_start and kl_decay must be in [0, 1], kl_weight and kl_floor not negative, got"
                f" {kl_start}, {kl_decay}, {kl_weight}, {kl_floor}"
            )
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        for option, value in (("reconstruct_every", reconstruct_every), ("sketches_per_word", sketches_per_word)):
            if value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        if (recogniser is None) != (recogniser_ckpt is None):
            raise ValueError("recogniser and recogniser_ckpt must be given together")
        self.max_length = data_spec["max_length"]
        self.network = network(len(self.words))
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.reconstruct_every = reconstruct_every
        self.kl_weight, self.kl_start, self.kl_decay = kl_weight, kl_start, kl_decay
        self.kl_floor = kl_floor
        self.temperature = temperature
        self.sketches_per_word = sketches_per_word
        self.recogniser = Recogniser(recogniser, recogniser_ckpt, data_spec) if recogniser and recogniser_ckpt else None
        self.units = {f"loss_offset{suffix}": self.network.offset.unit for suffix in MODES.values()}
        self.evaluations = nn.ModuleDict()
        self.divergence = MeanMetric(sync_on_compute=False)
        # The scale of drawings: in the weights, so that these can draw without the data.
        self.register_buffer("offset_std", torch.ones(()))

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The one network."""
        return {"network": self.network}

    def setup(self, stage: str) -> None:
        """Take over the scale of the offsets, and what the recogniser was trained to."""
        super().setup(stage)
        if stage == "fit":
            self.offset_std.fill_(self.trainer.datamodule.offset_std)  # type: ignore[attr-defined]
        if self.recogniser:
            self.run_facts |= self.recogniser.run_facts

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer, and the schedule under the name `lr`."""
        optimizer = self.optimizer(self.network.parameters())
        return planned(self, self.scheduler, optimizer, "step")

    # Losses

    def training_step(self, batch: SketchBatch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch."""
        whole, latent = self.network.encode(batch)
        z = latent.mean + (latent.log_variance / 2).exp() * torch.randn_like(latent.mean)
        latent_loss = divergence(*latent).clamp(min=self.kl_floor)
        modes = list(MODES) if batch_idx % self.reconstruct_every == 0 else ["generate"]
        foreseen = list(self._foreseen(batch, z, whole, modes))
        offset = torch.stack([scores.mean() for _, scores, _, _ in foreseen]).mean()
        pen = torch.stack([F.cross_entropy(logits, pens) for _, _, logits, pens in foreseen]).mean()
        weight = self.kl_weight * (1 - (1 - self.kl_start) * self.kl_decay**self.global_step)
        loss = offset + pen + weight * latent_loss
        count = len(batch.words)
        for name, value in {"": loss, "_offset": offset, "_pen": pen, "_latent": latent_loss}.items():
            self.track(f"loss{name}", value, count)
        return loss

    def _foreseen(
        self, batch: SketchBatch, z: Tensor, whole: Memory, modes: Iterable[str]
    ) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """Give for some modes the scores of the real offsets, the logits of the pen at real steps, and its states."""
        offsets = batch.offsets.flatten(0, 1).index_select(0, batch.drawn)
        pens = batch.pens.flatten().index_select(0, batch.real)
        for mode in modes:
            memory = whole if mode == "reconstruct" else self.network.word_memory(batch.words)
            described, logits = self.network.decode(batch, z, memory)
            scores = self.network.offset.score(described.flatten(0, 1).index_select(0, batch.drawn), offsets)
            yield mode, scores, logits.flatten(0, 1).index_select(0, batch.real), pens

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self._reset("val")

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        self._reset("test")
        self._reconstructed: list[np.ndarray] = []
        self._reconstructed_words: list[Tensor] = []

    def validation_step(self, batch: SketchBatch, batch_idx: int) -> None:
        """Evaluate a batch."""
        self._evaluate("val", batch)

    def test_step(self, batch: SketchBatch, batch_idx: int) -> None:
        """Evaluate a batch, and reconstruct it."""
        self._evaluate("test", batch)
        if self.recogniser:
            self._reconstructed += self.reconstruct(batch, seed=batch_idx)
            self._reconstructed_words.append(batch.words.cpu())

    def on_validation_epoch_end(self) -> None:
        """Log the metrics."""
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics, and score sketches."""
        self._log("test")
        for name, value in self._score_sketches().items():
            self.log(f"test/{name}", value, sync_dist=True)

    def _reset(self, stage: str) -> None:
        self.divergence.reset()
        for suffix in MODES.values():
            if stage + suffix not in self.evaluations:
                self.evaluations[stage + suffix] = StepEvaluation().to(self.device)
            for metric in self.evaluations[stage + suffix].children():
                metric.reset()  # type: ignore[operator]

    def _evaluate(self, stage: str, batch: SketchBatch) -> None:
        whole, latent = self.network.encode(batch)
        self.divergence.update(divergence(*latent), len(batch.words))
        for mode, scores, logits, pens in self._foreseen(batch, latent.mean, whole, MODES):
            self.evaluations[stage + MODES[mode]].update(scores, logits, pens)  # type: ignore[operator]

    def _log(self, stage: str) -> None:
        far = self.divergence.compute()
        evaluated: dict[str, Any] = {suffix: self.evaluations[stage + suffix] for suffix in MODES.values()}
        latent_loss = self.kl_weight * far.clamp(min=self.kl_floor)
        metrics = {"loss": evaluated[""].loss + latent_loss, "divergence": far}
        for suffix, evaluation in evaluated.items():
            measured = evaluation.metrics()
            if self.network.offset.unit == "nats":
                offsets, steps = evaluation.offset.weight, evaluation.pen.weight
                measured["nll"] = measured["loss_offset"] * offsets / steps + measured["loss_pen"]
            metrics |= {f"{name}{suffix}": value for name, value in measured.items()}
        for name, value in metrics.items():
            shown = stage == "val" and name in ("loss", "pen_acc")
            self.log(f"{stage}/{name}", value, prog_bar=shown, sync_dist=True)

    def _score_sketches(self) -> Scores:
        """Draw sketches of each word, and compare them with the drawings of the data."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        train, real = data.train_set, data.test_set
        words = torch.arange(len(self.words)).repeat_interleave(self.sketches_per_word)
        sketches = self.generate(words)
        real_steps = [real.steps(index) for index in range(len(real))]
        scores = lengths_and_ends(sketches, real_steps)
        scores |= novelty(sketches, real_steps, [train.steps(index) for index in range(len(train))])
        if self.recogniser is None:
            return scores
        judge = self.recogniser.to(self.device)
        cut = [each[: self.max_length] for each in real_steps]
        features = judge.features(sketches)
        features_real = judge.features(real_steps)
        scores |= precision_recall(features_real, features)
        answers = {
            "": (judge.answer(features), words),
            "_real": (judge.answer(features_real), real.words),
            "_redrawn": (judge.answer(judge.features(cut)), real.words),
            "_reconstructed": (judge.answer(judge.features(self._reconstructed)), torch.cat(self._reconstructed_words)),
        }
        right = {name: seen.cpu() == asked for name, (seen, asked) in answers.items()}
        return scores | {f"recognised{name}": each.float().mean() for name, each in right.items()}

    def match_class_order(self, theirs: Mapping[str, Any] | None, of: str) -> None:
        """Do what every task does, and refuse an order of the words that is not the recogniser's."""
        super().match_class_order(theirs, of)
        if self.recogniser is not None:
            self.recogniser.require_apart(self.data_spec)

    # Drawing

    @property
    def words(self) -> tuple[str, ...]:
        """What it draws, in the order of the classes."""
        return tuple(self.data_spec["words"])

    def generate(self, words: Tensor, temperature: float | None = None, seed: int = 0) -> list[np.ndarray]:
        """Draw a sketch for each word, from the word alone; the same at each call with the same weights.

        Args:
            words: Shape (B,), int64.
            temperature: The task's own if not given.
            seed: Seed of the latent vectors and the sampled steps.

        Returns:
            Steps (N, 3) of each sketch in the units of the drawings, with END where it ended before max_length.
        """
        with eval_mode(self):
            generator = torch.Generator(self.device).manual_seed(seed)
            words = words.to(self.device)
            z = torch.randn(len(words), self.network.latent_dim, generator=generator, device=self.device)
            memory = self.network.word_memory(words)
            steps = self.network.draw(words, z, memory, temperature or self.temperature, generator)
            return self._collect(steps, len(words))

    def reconstruct(self, batch: SketchBatch, temperature: float | None = None, seed: int = 0) -> list[np.ndarray]:
        """Redraw drawings, from their mean latent vectors and with attention to them; see `generate`."""
        with eval_mode(self):
            generator = torch.Generator(self.device).manual_seed(seed)
            batch = batch.to(self.device)
            memory, latent = self.network.encode(batch)
            temperature = temperature or self.temperature
            steps = self.network.draw(batch.words, latent.mean, memory, temperature, generator)
            return self._collect(steps, len(batch.words))

    def _collect(self, steps: Iterable[tuple[Tensor, Tensor]], count: int) -> list[np.ndarray]:
        """Take steps until all sketches have ended, at most max_length."""
        taken, done = [], torch.zeros(count, dtype=torch.bool, device=self.device)
        for offsets, pens in steps:
            taken.append(torch.cat([offsets * self.offset_std, pens[:, None].to(offsets.dtype)], dim=-1))
            done |= pens == Pen.END
            if len(taken) == self.max_length or done.all():
                break
        sketches = torch.stack(taken, dim=1).float().cpu().numpy()
        ends = (sketches[..., 2] == Pen.END).argmax(axis=1)  # 0 where there is none
        return [each[: end + 1] if each[end, 2] == Pen.END else each for each, end in zip(sketches, ends, strict=True)]

    def predict_step(self, batch: SketchBatch, batch_idx: int) -> tuple[list[np.ndarray], list[np.ndarray], list[int]]:
        """Return a sketch of each word of a batch, one reconstructed from each drawing, and the words (B,)."""
        return self.generate(batch.words, seed=batch_idx), self.reconstruct(batch), batch.words.tolist()
