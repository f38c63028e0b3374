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
        teacher: Network in eval mode.
        student: Network in training mode.
        generator: Network in training mode.
        optimizer_student: Optimizer of the student.
        optimizer_generator: Optimizer of the generator.
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
