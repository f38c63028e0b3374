"""A generator from which a few steps lead to each batch."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, make_trainer, run_card, run_cli
from helpers.data_free import Recorder, make_task
from pytorch_lightning.plugins import MixedPrecision
from torch import nn

from lightning_tasks import MemoryBank, MetaGenerator, OneHotLoss


def plain_steps(generator, z, steps, judge, lr, lr_noise):
    """The authors' way: a copy takes the steps, and the generator gets the sum of the copy's gradients."""
    fast, z = copy.deepcopy(generator), z.clone().requires_grad_()
    adam = torch.optim.Adam([{"params": fast.parameters()}, {"params": [z], "lr": lr_noise}], lr=lr, betas=(0.5, 0.999))
    made, losses, total = [], [], [torch.zeros_like(each) for each in fast.parameters()]
    for _ in range(steps):
        x = fast(z)
        loss = judge(x)
        adam.zero_grad()
        loss.backward()
        total = [former + each.grad for former, each in zip(total, fast.parameters(), strict=True)]
        made.append(x.detach())
        losses.append(loss.item())
        adam.step()
    return made, losses, total


@pytest.mark.parametrize("lr", [0.02, 0.5], ids=["the last is best", "the last is not best"])
def test_steps_equal_those_of_a_copy(lr):
    torch.manual_seed(1)
    generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    z, target = torch.randn(5, 3), torch.randn(5, 2)

    def judge(x):
        return (x - target).square().mean()

    made, losses, total = plain_steps(generator, z, 4, judge, lr, 0.3)
    best = losses.index(min(losses))
    assert best == 3 if lr == 0.02 else 0 < best < 3, losses
    start = copy.deepcopy(generator.state_dict())
    kept = z.clone()
    x = MetaGenerator(lr, lr_noise=0.3).synthesise(generator, z, 4, judge, torch.Tensor.backward)
    torch.testing.assert_close(x, made[best])
    assert not x.requires_grad
    assert torch.equal(z, kept)
    for name, value in generator.state_dict().items():
        assert torch.equal(value, start[name])
    for each, expected in zip(generator.parameters(), total, strict=True):
        torch.testing.assert_close(each.grad, expected)


def test_steps_of_a_scaled_loss_equal_those_without():
    """A factor of float16 that is a power of two changes no bit of the steps; the scaler takes it off the rest."""
    torch.manual_seed(1)
    generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    z, factor = torch.randn(5, 3), torch.tensor(65536.0)

    def synthesise(backward, scale=None):
        made = MetaGenerator(0.02).synthesise(generator, z, 3, lambda x: x.square().mean(), backward, scale)
        return made, [each.grad.clone() for each in generator.parameters()]

    made, gradients = synthesise(torch.Tensor.backward)
    scaled_made, scaled_gradients = synthesise(lambda loss: (loss * factor).backward(), factor)
    assert torch.equal(made, scaled_made)
    for each, scaled in zip(gradients, scaled_gradients, strict=True):
        assert torch.equal(each * factor, scaled)


def test_a_gradient_that_has_overflowed_moves_no_step_and_is_left_for_the_scaler():
    torch.manual_seed(1)
    generator = nn.Linear(3, 2, bias=False)
    z, seen = torch.randn(5, 3), []

    def judge(x):
        seen.append(generator.weight.detach().clone())
        return x.square().mean()

    def backward(loss):
        loss.backward()
        generator.weight.grad[0, 0] = torch.inf

    MetaGenerator(0.02).synthesise(generator, z, 2, judge, backward, torch.tensor(1.0))
    assert torch.equal(seen[0][0, 0], seen[1][0, 0])
    assert (seen[0] != seen[1]).sum() == 5  # the other weights move
    assert generator.weight.grad.isinf().sum() == 1


@pytest.mark.parametrize("meta", [False, True], ids=["in turns", "from a common start"])
def test_float16_with_a_scaler_trains(teacher_ckpt, meta):
    """The scaler of a GPU, on the CPU; its first factor of 2 ** 16 is too large for the generator."""
    pl.seed_everything(1)
    task, data = meta_task(teacher_ckpt) if meta else make_task(teacher_ckpt, objective_losses=[OneHotLoss()])
    before = copy.deepcopy({name: network.state_dict() for name, network in task.networks.items()})
    scaler = torch.amp.GradScaler("cpu")
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    make_trainer(max_epochs=4, limit_val_batches=0, precision=None, plugins=plugin).fit(task, data)
    for name in ("student", "generator"):
        after = task.networks[name].state_dict()
        assert all(each.isfinite().all() for each in after.values())
        assert any(not torch.equal(each, before[name][key]) for key, each in after.items() if "weight" in key)


def meta_task(teacher_ckpt, **options):
    return make_task(
        teacher_ckpt,
        generator_meta_generator=MetaGenerator(),
        memory_bank=MemoryBank(64),
        objective_losses=[OneHotLoss()],
        generator_steps=3,
        student_steps=2,
        **options,
    )


def test_a_round_makes_its_batch_before_the_student_learns(teacher_ckpt):
    pl.seed_everything(1)
    task, data = meta_task(
        teacher_ckpt, generator_pretrain_epochs=1, generator_optimizer=lambda params: torch.optim.SGD(params, lr=0.5)
    )
    student = copy.deepcopy(task.student.state_dict())
    recorder, made, moved, losses = Recorder(), [], [], []
    task.track = lambda name, value, count: losses.append(name)
    synthesise = task.generator_training.meta_generator.synthesise

    def keep(generator, *args):
        before = [each.detach().clone() for each in generator.parameters()]
        made.append(synthesise(generator, *args))
        moved.append([former - 0.5 * each.grad for former, each in zip(before, generator.parameters(), strict=True)])
        assert all(each.grad is None for each in task.student.parameters()) or task.current_epoch
        return made[-1]

    task.generator_training.meta_generator.synthesise = keep

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            for each, expected in zip(pl_module.generator.parameters(), moved[-1], strict=True):
                torch.testing.assert_close(each.detach(), expected)

        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                same = zip(student.values(), pl_module.student.state_dict().values(), strict=True)
                assert all(torch.equal(a, b) for a, b in same)
                assert len(pl_module.memory_bank) == 0
            assert pl_module.fake_class_counts.sum() == (2 * 3 * 8, 2 * 8)[trainer.current_epoch]

    make_trainer(recorder, Look(), limit_train_batches=2, max_epochs=2, limit_val_batches=0).fit(task, data)
    assert [player for player, _ in recorder.steps] == ["generator"] * 2 + (["generator"] + ["student"] * 2) * 2
    assert (
        losses
        == ["loss_one_hot", "loss_generator"] * 6 + (["loss_one_hot", "loss_generator"] * 3 + ["loss_student"] * 2) * 2
    )
    kept = task.memory_bank.state_dict()["images"]
    assert len(kept) == 16
    rounded = ((torch.cat(made[2:]).clamp(-4, 4) / 4 + 1) * 127.5).round()
    assert torch.equal(kept.float(), rounded)


def test_bad_options_are_refused(teacher_ckpt):
    with pytest.raises(ValueError, match=r"meta_generator: lr_noise must be positive, got -0\.1"):
        MetaGenerator(lr_noise=-0.1)
    with pytest.raises(ValueError, match="meta_generator: lr must be positive, got 0"):
        MetaGenerator(lr=0)
    with pytest.raises(ValueError, match="meta_generator: it needs a memory_bank"):
        make_task(teacher_ckpt, generator_meta_generator=MetaGenerator())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_from_the_command_line(teacher_ckpt, precision):
    words = [*TINY_DFAD, f"--model.teacher_ckpt={teacher_ckpt}", *TINY_DATA, *TINY_TRAINER]
    words += [
        "--model.generator_training.meta_generator=MetaGenerator",
        "--model.memory_bank=MemoryBank",
        "--model.memory_bank.size=64",
    ]
    words += ["--model.generator_training.steps=2", f"--trainer.precision={precision}", "--trainer.max_epochs=1"]
    run_cli("fit", *words)
    assert run_card()["parameters"]["generator"] > 0
