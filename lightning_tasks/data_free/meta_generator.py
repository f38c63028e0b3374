"""Meta-learned generator: a shared initialisation that a few steps adapt to each batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class MetaGenerator:
    """A common start, from which the generator takes a few steps with each batch's noise, and the noise with it.

    Fang et al. 2022, "Up to 100x faster data-free knowledge distillation", https://arxiv.org/abs/2112.06253, Algorithm
    1, with the first-order gradient of MAML (their default). The steps are Adam's with the authors' betas. The start
    then moves against the sum of the steps' gradients, by the optimizer that the generator has anyway; the authors' is
    Adam with the same betas and `lr` times the number of steps.

    Args:
        lr: Learning rate of the generator in these steps; the authors' for five.
        lr_noise: Learning rate of the noise.

    Raises:
        ValueError: If a learning rate is not positive.
    """

    def __init__(self, lr: float = 3e-3, lr_noise: float = 0.01) -> None:
        for option, value in (("lr", lr), ("lr_noise", lr_noise)):
            if value <= 0:
                raise ValueError(f"meta_generator: {option} must be positive, got {value}")
        self.lr = lr
        self.lr_noise = lr_noise

    def synthesise(
        self,
        generator: nn.Module,
        z: Tensor,
        steps: int,
        loss_fn: Callable[[Tensor], Tensor],
        backward: Callable[[Tensor], None],
        scale: Tensor | None = None,
    ) -> Tensor:
        """Make a batch; the generator is then where it was, and has the gradient of the start.

        In float16 `backward` scales the loss (Micikevicius et al. 2018, "Mixed precision training",
        https://arxiv.org/abs/1710.03740): the steps take the gradients without that scale, and skip what is infinite or
        nan; the gradient of the start keeps both, for the scaler, which unscales it and lowers its scale if need be.

        Args:
            generator: From noise to images; in training mode.
            z: Noise (B, latent_dim).
            steps: How many to take.
            loss_fn: Gives the loss of images, a scalar.
            backward: Computes gradients of a loss.
            scale: By which `backward` multiplies them, a scalar; None for 1.

        Returns:
            The images (B, C, H, W) of the step with the lowest loss, without a gradient.
        """
        weights = list(generator.parameters())
        start = [each.detach().clone() for each in weights]
        totals = [torch.zeros_like(each) for each in start]
        z = z.detach().clone().requires_grad_()
        param_groups: list[dict[str, Any]] = [{"params": weights, "lr": self.lr}, {"params": [z], "lr": self.lr_noise}]
        adam = torch.optim.Adam(param_groups, betas=(0.5, 0.999))
        best, least = torch.empty(0), torch.full((), torch.inf, device=z.device)
        for step in range(steps):
            x = generator(z)
            loss = loss_fn(x)
            adam.zero_grad()
            backward(loss)
            found = [(total, each.grad) for total, each in zip(totals, weights, strict=True) if each.grad is not None]
            torch._foreach_add_(*zip(*found, strict=True))
            if scale is not None:
                taken = [each.grad for each in (*weights, z) if each.grad is not None]
                torch._foreach_div_(taken, scale)
                for gradient in taken:
                    gradient.nan_to_num_(0, 0, 0)
            best = (
                torch.where(loss < least, x, best).detach() if step else x.detach()
            )  # would wait for a GPU as an `if`
            least = torch.minimum(least, loss.detach())
            adam.step()
        with torch.no_grad():
            for each, former, total in zip(weights, start, totals, strict=True):
                each.copy_(former)
                each.grad = total
        return best
