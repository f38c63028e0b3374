"""Networks whose backpropagation is written by hand, driven by Lightning: the bridge to the room `by_hand/`.

PyTorch keeps and moves the arrays here, Lightning feeds, logs and saves; no derivative is computed by either. The room
computes on the same memory, as PyTorch tensors or as NumPy arrays.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from array_api_compat import array_namespace
from torch import Tensor, nn

from lightning_tasks.by_hand import (
    Initialisation,
    L2Penalty,
    Layer,
    Network,
    SoftmaxCrossEntropy,
    UpdateRule,
    one_hot,
    standard_deviation,
)
from lightning_tasks.image_task import ImageTask
from lightning_tasks.networks import require_layers
from lightning_tasks.runs.data_spec import ImageDataSpec

UpdateEvery = Literal["mini-batch", "sample", "epoch"]
Schedule = Literal["constant", "cosine"]
Backend = Literal["torch", "numpy"]


class Trained(NamedTuple):
    """A weight array of the network, and what belongs to it.

    Attributes:
        layer: Layer that has it.
        gradient: Name of the layer's attribute that holds its derivative after `backward`.
        weight: The array.
        states: State of the update rule for it.
        has_penalty: Whether the L2 penalty covers it.
    """

    layer: Layer
    gradient: str
    weight: Any
    states: list[Any]
    has_penalty: bool


class ByHandTask(ImageTask):
    """Trains a network of `by_hand/` layers with softmax and cross-entropy.

    Logs `train/loss` (cross-entropy in nats), `train/loss_l2` (the penalty, after the epoch), `train/acc` and `lr` on
    top of ImageTask's metrics. On several devices the gradients are averaged before each update.

    Args:
        data_spec: See ImageDataSpec.
        layers: The network, from images (C, H, W) to scores (num_classes,).
        rule: How the weights follow their derivatives.
        update_every: Samples of one update: a "mini-batch" of the loader; one "sample", so a batch of the
            loader gives as many updates as it has samples (stochastic gradient descent); or the whole "epoch", the
            mean over all training samples (batch gradient descent). On several devices, from as many of these.
        initialisation: Initial weights, see `lightning_tasks/initialisation.py`.
        l2: Strength of the L2 penalty on all weights that are not biases.
        schedule: Learning rate over the epochs: "constant", or half a "cosine" that ends near zero in the last one.
        backend: Array library of the layers; "numpy" on the CPU only.

    Raises:
        ValueError: If the layers do not fit each other, the images or the number of classes.
    """

    watched: Mapping[str, Mapping[str, str]] = {**ImageTask.watched, "L2 penalty": {"train/loss_l2": ""}}

    def __init__(
        self,
        data_spec: ImageDataSpec,
        layers: list[Layer],
        rule: UpdateRule,
        update_every: UpdateEvery = "mini-batch",
        initialisation: Initialisation = "he",
        l2: float = 0.0,
        schedule: Schedule = "constant",
        backend: Backend = "torch",
    ) -> None:
        super().__init__(data_spec)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.network = Network(layers, self.image_shape)
        if self.network.output_shape != (self.num_classes,):
            raise ValueError(
                f"layers: the last must give scores of shape {(self.num_classes,)}, one a class, but gives"
                f" {self.network.output_shape}"
            )
        for option, choice, known in (
            ("update_every", update_every, get_args(UpdateEvery)),
            ("schedule", schedule, get_args(Schedule)),
            ("backend", backend, get_args(Backend)),
        ):
            if choice not in known:
                raise ValueError(f"{option} must be one of {', '.join(known)}, got {choice!r}")
        self.loss = SoftmaxCrossEntropy()
        self.l2 = L2Penalty(l2)
        self.rule = rule
        self.update_every = update_every
        self.schedule = schedule
        self.backend = backend
        # Parameters, so that Lightning counts, saves, moves and broadcasts them; PyTorch never makes their gradients.
        self.weights = nn.ParameterDict()
        self.rule_states = nn.ParameterDict()
        for name, layer, weight in self.network.weights():
            value = torch.zeros(layer.weight_shapes[weight])
            if weight != "bias":
                value.normal_(std=standard_deviation(initialisation, layer.fan_in, layer.fan_out))
            self.weights[name] = nn.Parameter(value)
            for state in rule.states:
                self.rule_states[f"{name}_{state}"] = nn.Parameter(torch.zeros_like(value), requires_grad=False)
        self._share_arrays()

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The weights of the one network."""
        return {"network": self.weights}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ByHandTask":
        """Move or convert the weights, as `to`, `cuda` and `double` do, and let the layers follow."""
        super()._apply(fn, recurse)
        self._share_arrays()
        return self

    def _share_arrays(self) -> None:
        """Give each layer its weights: the same memory, as arrays of the backend."""
        self._trained: list[Trained] = []
        for name, layer, weight in self.network.weights():
            array = self._array(self.weights[name].detach())
            setattr(layer, weight, array)
            states = [self._array(self.rule_states[f"{name}_{state}"].detach()) for state in self.rule.states]
            self._trained.append(Trained(layer, f"d_{weight}", array, states, has_penalty=weight != "bias"))

    def _array(self, x: Tensor) -> Any:
        """View a tensor as an array of the backend."""
        if self.backend == "torch":
            return x
        if x.device.type != "cpu":
            raise ValueError("model.backend numpy computes on the CPU only; give --trainer.accelerator cpu")
        return x.numpy()

    def configure_optimizers(self) -> list:
        """None of PyTorch's."""
        return []

    # Not in inference mode, also where Lightning is: memory that layers keep would be of no use outside of it.
    @torch.inference_mode(False)
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to scores (B, num_classes)."""
        return torch.as_tensor(self.network.forward(self._array(x)))

    @torch.inference_mode(False)
    @torch.no_grad()
    def layer_outputs(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Compute what named layers of the network give for images, see ImageTask."""
        require_layers(layers, list(self.network.layers))
        outputs = {}
        y = self._array(x.to(self.device).to(self.dtype))
        for name, layer in self.network.layers.items():
            y = layer.forward(y)
            outputs[name] = torch.as_tensor(y)
        return {name: outputs[name] for name in layers}

    def on_fit_start(self) -> None:
        """Refuse options of the trainer that cannot be kept, and choose the number of threads."""
        precision = str(self.trainer.precision)
        if precision.startswith("16"):
            raise ValueError(
                f"trainer.precision {precision}: derivatives by hand are not scaled, so float16 loses small ones; use"
                " bf16-mixed or 32-true"
            )
        if self.backend == "numpy" and precision not in ("32-true", "64-true"):
            raise ValueError(f"model.backend numpy needs trainer.precision 32-true or 64-true, got {precision}")
        if self.schedule == "cosine" and (self.trainer.max_epochs or 0) < 1:
            raise ValueError("model.schedule cosine needs trainer.max_epochs, the epoch in which it ends")
        self._threads = torch.get_num_threads()
        if self.backend == "numpy" or self.update_every == "sample":
            # PyTorch's threads and NumPy's would wait for each other, and a single sample is too little to share out.
            torch.set_num_threads(1)

    def on_fit_end(self) -> None:
        """Give PyTorch its threads back."""
        torch.set_num_threads(self._threads)

    def on_train_epoch_start(self) -> None:
        """Set the learning rate of the epoch."""
        super().on_train_epoch_start()
        self._scale = 1.0
        if self.schedule == "cosine":
            assert self.trainer.max_epochs is not None
            self._scale = (1 + math.cos(math.pi * self.current_epoch / self.trainer.max_epochs)) / 2
        self._summed: list[Any] = [0.0] * len(self._trained)
        self._samples = 0
        self.log("lr", self.rule.learning_rate * self._scale)

    @torch.no_grad()
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Learn from one batch of the loader."""
        images, y = batch
        if y.ndim == 2:
            raise ValueError("data.augment: MixUp and CutMix make labels soft, and networks by hand learn from classes")
        x = self._array(images)
        t = one_hot(self._array(y), self.num_classes, like=x)
        if self.update_every == "sample":
            scores = []
            for sample in range(len(y)):
                one = slice(sample, sample + 1)
                scores.append(self._differentiate(x[one], t[one]))
                self._update()
            z = array_namespace(x).concat(scores)
        else:
            z = self._differentiate(x, t)
            if self.update_every == "mini-batch":
                self._update()
            else:
                self._collect(len(y))
                if self.trainer.is_last_batch:
                    self._update()
        self.track("loss", torch.as_tensor(self.loss.forward(z, t)), len(y))
        self.track("acc", (torch.as_tensor(z).argmax(dim=1) == y).float().mean(), len(y))
        if self.l2.strength and self.trainer.is_last_batch:
            penalties = [self.l2.forward(each.weight) for each in self._trained if each.has_penalty]
            self.log("train/loss_l2", float(sum(penalties)), on_step=False, on_epoch=True, batch_size=1)

    def _differentiate(self, x: Any, t: Any) -> Any:
        """Pass samples x forward and the derivative of the loss back; returns the scores."""
        z = self.network.forward(x)
        self.network.backward(self.loss.backward(z, t))
        for each in self._trained:
            gradient = getattr(each.layer, each.gradient)
            if gradient.dtype != each.weight.dtype:  # bfloat16 from autocast; sums need more
                gradient = gradient.to(each.weight.dtype)
                setattr(each.layer, each.gradient, gradient)
            if each.has_penalty and self.l2.strength:
                gradient += self.l2.backward(each.weight)
        return z

    def _collect(self, samples: int) -> None:
        """Take a batch into the mean derivative over the epoch, which replaces that of the batch."""
        self._samples += samples
        for index, each in enumerate(self._trained):
            self._summed[index] += samples * getattr(each.layer, each.gradient)
            setattr(each.layer, each.gradient, self._summed[index] / self._samples)

    def _update(self) -> None:
        """Change all weights by their derivatives, averaged over the devices."""
        if self.trainer.world_size > 1:
            self._average_over_devices()
        for each in self._trained:
            self.rule.update(each.weight, getattr(each.layer, each.gradient), *each.states, scale=self._scale)
        # What Lightning's optimizers do: its checkpoints are not written twice at one step.
        self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_completed()

    def _average_over_devices(self) -> None:
        """Replace each derivative by its mean over all devices, in one message."""
        gradients = [torch.as_tensor(getattr(each.layer, each.gradient)) for each in self._trained]
        message = torch.cat([gradient.flatten() for gradient in gradients])
        message = self.trainer.strategy.reduce(message, reduce_op="mean")
        for each, mean in zip(self._trained, message.split([g.numel() for g in gradients]), strict=True):
            setattr(each.layer, each.gradient, self._array(mean.reshape(each.weight.shape)))
