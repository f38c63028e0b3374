"""The straightforward DFAD round, as most public code has it: the reference for speed and for numbers.

Six separate passes through unchanged networks: each student step makes its own images and asks the teacher anew, the
teacher keeps its BatchNorm layers, and the generator's step computes gradients of all networks. Nothing of
lightning_tasks.data_free.dfad is used here, so the two can be compared.
"""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer


def plain_round(
    teacher: nn.Module,
    student: nn.Module,
    generator: nn.Module,
    optimizer_student: Optimizer,
    optimizer_generator: Optimizer,
    noise: list[Tensor],
) -> tuple[list[float], float]:
    """Play one round: a student step on each noise batch but the last, a generator step on the last.

    Args:
        teacher: In eval mode.
        student: In training mode.
        generator: In training mode.
        optimizer_student: Of the student's parameters.
        optimizer_generator: Of the generator's parameters.
        noise: Latent batches, each (B, latent_dim).

    Returns:
        The student's losses, and the generator's.
    """
    losses = []
    for z in noise[:-1]:
        fake = generator(z).detach()
        loss = F.l1_loss(student(fake), teacher(fake).detach())
        optimizer_student.zero_grad()
        loss.backward()
        optimizer_student.step()
        losses.append(loss.item())
    fake = generator(noise[-1])
    loss = -F.l1_loss(student(fake), teacher(fake))
    optimizer_generator.zero_grad()
    loss.backward()
    optimizer_generator.step()
    return losses, loss.item()
