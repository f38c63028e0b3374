"""A student's step on images from the bank against plain DFAD's, for which generator and teacher work too, on a CPU."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_tasks import FeatureLoss, ImageGenerator, MemoryBank, ResNet
from lightning_tasks.data_free.noise import RandomSource
from lightning_tasks.networks import recorded
from tools.benchmarks.measure import REPEATS, Comparison, compare, seconds

BATCH, STEPS, NUM_CLASSES, SHAPE = 64, 4, 10, (3, 32, 32)
BLOCKS = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]


def run(root: str) -> list[Comparison]:
    """Measure at the sizes of dfad_cifar10.yaml: a ResNet-20, students of 47 and 19 %, batches of 64, bfloat16."""
    del root  # the images are invented
    other = "generator, teacher and student for each batch"
    results = []
    for width in (11, 7):
        name = f"student steps on banked images, width {width}"
        results.append(compare(name, other, "ms", *_duel(width, features=False), bar=2.0))
        results.append(compare(f"{name}, matching nine blocks", other, "ms", *_duel(width, True), bar=1.0))
    return results


def _duel(width: int, features: bool) -> tuple[list[float], list[float]]:
    last = torch.channels_last
    teacher = ResNet(NUM_CLASSES, SHAPE, depth=20, width=16).eval().requires_grad_(False).to(memory_format=last)
    generator = ImageGenerator(SHAPE, width=32).to(memory_format=last)
    random = RandomSource.on(torch.device("cpu"))
    bank = MemoryBank(4096, flip=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(4):
            bank.add(generator(torch.randn(BATCH, generator.latent_dim)), teacher, random)
    loss, feature_loss = F.l1_loss, FeatureLoss(BLOCKS)

    def banked(student: nn.Module) -> Tensor:
        x, target, _ = bank.draw(BATCH, random)
        if not features:
            return loss(student(x), target)
        with torch.no_grad(), recorded(teacher, BLOCKS) as theirs:
            teacher(x)
        with recorded(student, BLOCKS) as ours:
            logits = student(x)
        return loss(logits, target) + feature_loss(ours, theirs)

    def plain(student: nn.Module) -> Tensor:
        with torch.no_grad():
            x = generator(torch.randn(BATCH, generator.latent_dim))
            target = teacher(x)
        return loss(student(x), target)

    def steps(way: Callable[[nn.Module], Tensor]) -> Callable[[], None]:
        student = ResNet(NUM_CLASSES, SHAPE, depth=20, width=width).to(memory_format=last)
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

        def take() -> None:
            for _ in range(STEPS):
                with torch.autocast("cpu", torch.bfloat16):
                    value = way(student)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()

        return take

    ways = steps(banked), steps(plain)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS + 1):
        for way, kept in zip(ways, times, strict=True):
            kept.append(1e3 * seconds(way))
    return times
