"""An optimizer that treats what labels and what a teacher say apart."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class DistillationOrientedSGD(Optimizer):
    """SGD with a momentum for the gradient of the labels' loss and another for that of the teacher's.

    v <- (m - delta) v + g + w theta, u <- (m + delta) u + h, theta <- theta - lr (v + u), with gradients g and h of the
    labels' and the teacher's loss (Zhao et al. 2023, "DOT: a distillation-oriented trainer",
    https://arxiv.org/abs/2307.08436, equations 4 to 6). The greater momentum lets the teacher lead. Weight decay w is
    applied once, with the labels.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: m above, in [0, 1).
        delta: Difference of the momenta, in [0, min(m, 1 - m)).
        weight_decay: w above.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        delta: float = 0.075,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"lr and weight_decay must not be negative, got {lr} and {weight_decay}")
        if not 0 <= momentum < 1 or not 0 <= delta <= min(momentum, 1 - momentum):
            raise ValueError(
                f"momentum must be in [0, 1), and delta from 0 to momentum and to 1 - momentum, got {momentum}, {delta}"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "delta": delta, "weight_decay": weight_decay})
        self._soft: dict[nn.Parameter, Tensor] = {}

    def backward(self, hard: Tensor, soft: Tensor) -> None:
        """Compute both gradients of two scalars; those of `hard` are left in the parameters' `grad`.

        Args:
            hard: Loss against the labels.
            soft: Loss of the teacher's answers.
        """
        parameters = [each for group in self.param_groups for each in group["params"]]
        gradients = torch.autograd.grad(soft, parameters, retain_graph=True, allow_unused=True)
        self._soft = {each: h for each, h in zip(parameters, gradients, strict=True) if h is not None}
        hard.backward()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step after `backward`, which the closure may call."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["hard"], state["soft"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["hard"].mul_(group["momentum"] - group["delta"]).add_(parameter, alpha=group["weight_decay"])
                state["soft"].mul_(group["momentum"] + group["delta"])
                if parameter.grad is not None:
                    state["hard"].add_(parameter.grad)
                if parameter in self._soft:
                    state["soft"].add_(self._soft[parameter])
                parameter.sub_(state["hard"] + state["soft"], alpha=group["lr"])
        return loss
