"""The steps of DFAD: whose weights move, by which gradient, in which order."""

import copy
import warnings

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, make_trainer, run_card, run_cli
from helpers.data_free import Recorder, make_task
from pytorch_lightning import Callback
from torch.nn import functional as F

from datamodules import DigitsDataModule
from datamodules.tensors import TensorImages
from lightning_tasks import ClassBalanceLoss, DFADTask, OneHotLoss, ResNet
from lightning_tasks.data_free.diversity import class_entropy
from lightning_tasks.data_free.generator import ImageGenerator
from lightning_tasks.networks import count_parameters
from tools.benchmarks.plain_dfad import plain_round


def plain_copy(task, teacher_ckpt):
    """The three networks as the plain loop uses them, with the task's weights."""
    teacher = ResNet(10, task.image_shape, depth=10, width=4).eval()
    weights = torch.load(teacher_ckpt, weights_only=True)["state_dict"]
    teacher.load_state_dict({key.removeprefix("network."): weights[key] for key in weights})
    return teacher, copy.deepcopy(task.student).train(), copy.deepcopy(task.generator).train()


@pytest.mark.parametrize(
    "options",
    [{"channels_last": False}, {"channels_last": True}, pytest.param({"compile": True}, marks=pytest.mark.slow)],
    ids=str,
)
def test_round_equals_the_plain_loop(teacher_ckpt, options):
    pl.seed_everything(1)
    task, data = make_task(teacher_ckpt, batch_size=16, **options)
    teacher, student, generator = plain_copy(task, teacher_ckpt)
    recorder = Recorder()
    losses = []
    task.track = lambda name, value, count: losses.append(value.item())
    make_trainer(recorder, limit_train_batches=1).fit(task, data)

    noise = torch.Generator().manual_seed(task.epoch_seed(0))
    z = [torch.randn(16, 8, generator=noise) for _ in range(6)]
    optimizers = (
        task.student_training.optimizer(student.parameters()),
        task.generator_training.optimizer(generator.parameters()),
    )
    gradients = []
    for optimizer, network in zip(optimizers, (student, generator), strict=True):
        optimizer.register_step_pre_hook(
            lambda *_, network=network: gradients.append([p.grad.clone() for p in network.parameters()])
        )
    student_losses, generator_loss = plain_round(teacher, student, generator, *optimizers, z)

    assert [player for player, _ in recorder.steps] == ["student"] * 5 + ["generator"]
    torch.testing.assert_close(losses, [*student_losses, generator_loss], atol=1e-5, rtol=1e-5)
    for (_, ours), plain in zip(recorder.steps, gradients, strict=True):
        for a, b in zip(ours, plain, strict=True):
            assert (a - b).norm() <= 1e-5 * max(1.0, b.norm())
    for a, b in zip(task.student.state_dict().values(), student.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    # Of the generator only the statistics: Adam's first step turns the rounding of a zero gradient into a full step.
    for a, b in zip(task.generator.buffers(), generator.buffers(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_player_moves_only_in_its_own_turn(teacher_ckpt):
    task, data = make_task(teacher_ckpt)
    snapshots = []

    class Watch(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            snapshots.append(
                {name: [p.detach().clone() for p in net.parameters()] for name, net in task.networks.items()}
            )

    make_trainer(Watch(), limit_train_batches=1).fit(task, data)
    snapshots.append({name: [p.detach() for p in net.parameters()] for name, net in task.networks.items()})

    def moved(name, i):
        return any(not torch.equal(a, b) for a, b in zip(snapshots[i][name], snapshots[i + 1][name], strict=True))

    assert [moved("student", i) for i in range(6)] == [True] * 5 + [False]
    assert [moved("generator", i) for i in range(6)] == [False] * 5 + [True]
    assert not any(moved("teacher", i) for i in range(6))
    assert not any(module.training for module in task.teacher.network.modules())
    assert all(not p.requires_grad for p in task.teacher.network.parameters())
    assert all(p.requires_grad for p in task.student.parameters())


def test_bf16_uses_fresh_weights_in_each_step(teacher_ckpt):
    """Autocast can cache half-precision weights over a whole training_step; Lightning turns that off, and it must."""
    pl.seed_everything(1)
    task, data = make_task(teacher_ckpt, channels_last=False, batch_size=16)
    _, student, generator = plain_copy(task, teacher_ckpt)
    before = copy.deepcopy(task.generator.state_dict())
    make_trainer(limit_train_batches=1, precision="bf16-mixed").fit(task, data)

    noise = torch.Generator().manual_seed(task.epoch_seed(0))
    teacher = task.teacher
    optimizer = task.student_training.optimizer(student.parameters())
    for _ in range(5):
        z = torch.randn(16, 8, generator=noise)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            fake = generator(z)
            target = teacher(fake)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.l1_loss(student(fake).float(), target.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for a, b in zip(task.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    assert not torch.equal(before["layers.0.weight"], task.generator.layers[0].weight)


def test_training_reads_no_real_image(teacher_ckpt, monkeypatch):
    task, data = make_task(teacher_ckpt)

    def refuse(self, *_):
        raise AssertionError("a real image was read")

    monkeypatch.setattr(TensorImages, "__getitem__", refuse)
    monkeypatch.setattr(TensorImages, "__getitems__", refuse)
    trainer = make_trainer(max_epochs=2)
    trainer.fit(task, data)
    assert trainer.global_step == 2 * 2 * 6  # it did train
    assert data.train_set is None
    with pytest.raises(AssertionError, match="real image"):
        next(iter(data.val_dataloader()))  # the guard works


@pytest.mark.slow
def test_student_approaches_its_teacher(teacher_ckpt):
    """On the mean of three seeds, which gain 0.26 to 0.38 each; one alone may come near to the bound."""
    gains = []
    for seed in range(3):
        pl.seed_everything(seed)
        task, data = make_task(teacher_ckpt, student_width=4, generator_width=8, batch_size=32)
        data.steps_per_epoch = 30
        trainer = make_trainer(limit_val_batches=1.0, num_sanity_val_steps=0, check_val_every_n_epoch=4, max_epochs=4)
        before = make_trainer(limit_val_batches=1.0).validate(task, data, verbose=False)[0]["val/agreement"]
        trainer.fit(task, data)
        gains.append(float(trainer.callback_metrics["val/agreement"]) - before)
    assert sum(gains) / 3 > 0.2


def test_gradients_are_clipped(teacher_ckpt):
    task, data = make_task(teacher_ckpt, gradient_clip_norm=0.01)
    norms = []

    def watch(optimizer, *_):
        norms.append(torch.cat([p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]).norm().item())

    class Hook(Callback):
        def on_train_start(self, trainer, pl_module):
            for optimizer in trainer.optimizers:
                optimizer.register_step_post_hook(watch)

    make_trainer(Hook(), limit_train_batches=1).fit(task, data)
    assert len(norms) == 6
    assert norms == pytest.approx([0.01] * 6, rel=1e-3)


def test_metrics_card_and_checkpoint(teacher_ckpt):
    cli = run_cli(
        "fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}", "--trainer.max_epochs=2"
    )
    card = run_card()
    metrics = {"test/acc", "test/acc_10pct", "test/acc_20pct", "test/acc_teacher", "test/agreement"}
    assert metrics <= set(card["metrics"])
    assert all(0 <= card["metrics"][name] <= 1 for name in metrics)
    assert card["parameters"] == {
        "student": count_parameters(ResNet(10, (1, 16, 16), 10, 2)),
        "generator": count_parameters(ImageGenerator((1, 16, 16), 8, 4)),
        "teacher": count_parameters(ResNet(10, (1, 16, 16), 10, 4)),
    }
    assert card["epochs"] == 2
    assert card["teacher_ckpt"] == str(teacher_ckpt)
    assert len(card["teacher_sha256"]) == 64
    assert set(cli.trainer.callback_metrics) >= metrics
    state = torch.load("logs/dfad/version_0/checkpoints/last.ckpt", weights_only=True)
    assert not any(key.startswith("teacher") for key in state["state_dict"])
    task = DFADTask.load_from_checkpoint("logs/dfad/version_0/checkpoints/last.ckpt", map_location="cpu")
    for name, value in task.student.state_dict().items():
        assert torch.equal(value, state["state_dict"][f"student.{name}"])


def test_collapse_is_told_and_recorded(teacher_ckpt):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_cli(
            "fit",
            *TINY_DFAD,
            *TINY_DATA,
            *TINY_TRAINER,
            f"--model.teacher_ckpt={teacher_ckpt}",
            "--trainer.max_epochs=1",
            "--model.collapse_entropy=1.0",  # no histogram is that even
        )
    assert any("generator may have collapsed" in str(warning.message) for warning in caught)
    assert run_card()["collapsed_epochs"] == 1
    assert 0 <= run_card()["min_class_entropy"] <= 1


def test_agreement_is_the_share_of_equal_answers(teacher_ckpt):
    """Of the teacher, not of the labels."""
    torch.manual_seed(2)  # a student for whom the two differ
    task, data = make_task(teacher_ckpt)
    tested = make_trainer().test(task, data, verbose=False)[0]
    x, y = data.normalise(data.test_set.images.float() / 255), data.test_set.labels
    with torch.no_grad():
        student, teacher = task.eval()(x).argmax(dim=1), task.teacher(x).argmax(dim=1)
    assert tested["test/agreement"] == pytest.approx((student == teacher).float().mean().item())
    assert tested["test/acc_teacher"] == pytest.approx((teacher == y).float().mean().item())
    assert tested["test/agreement"] != pytest.approx((student == y).float().mean().item())


def test_a_students_checkpoint_of_other_data_is_refused(teacher_ckpt):
    task, data = make_task(teacher_ckpt)
    with pytest.raises(ValueError, match="the checkpoint was trained with dataset other"):
        task.on_load_checkpoint({"data_spec": data.data_spec | {"dataset": "other"}})


def test_the_least_class_entropy_of_all_epochs_is_kept(teacher_ckpt, monkeypatch):
    entropies = iter([0.7, 0.6, 0.9])
    monkeypatch.setattr("lightning_tasks.data_free.base.class_entropy", lambda counts: next(entropies))
    run_cli(
        "fit",
        *TINY_DFAD,
        *TINY_DATA,
        *TINY_TRAINER,
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--trainer.max_epochs=3",
    )
    assert run_card()["min_class_entropy"] == 0.6
    assert run_card()["collapsed_epochs"] == 0


def test_defaults_are_the_authors(teacher_ckpt):
    """Fang et al.'s code for CIFAR: SGD 0.1, 0.9, 5e-4 and Adam 1e-3, 256 images, five steps to one."""
    facts = DigitsDataModule().data_spec
    network = lambda classes, shape: ResNet(classes, shape, depth=10, width=4)  # noqa: E731
    task = DFADTask(facts, network, network, str(teacher_ckpt))
    student, generator = (each["optimizer"] for each in task.configure_optimizers())
    assert type(student) is torch.optim.SGD
    assert type(generator) is torch.optim.Adam
    names = ("lr", "momentum", "weight_decay")
    assert [student.defaults[name] for name in names] == [0.1, 0.9, 5e-4]
    assert [generator.defaults[name] for name in ("lr", "betas", "weight_decay")] == [1e-3, (0.9, 0.999), 0]
    assert (task.batch_size, task.student_training.steps, task.generator_training.steps) == (256, 5, 1)


def test_units_of_what_is_not_in_nats():
    assert DFADTask.units == {
        "loss_student": "logits",
        "loss_generator": "logits",
        "loss_features": "relative to the teacher's",
        "loss_statistics": "activations",
        "loss_activation": "activations",
        "loss_diversity": "1 - cosine",
        "same_class_distance": "1 - cosine",
        "statistics_distance": "activations",
        "pairwise_distance": "distance of images",
        "class_entropy": "entropy (1: uniform)",
    }


def test_class_entropy():
    assert class_entropy(torch.tensor([5, 5, 5, 5])) == pytest.approx(1)
    assert class_entropy(torch.tensor([7, 0, 0, 0])) == 0
    assert class_entropy(torch.tensor([1, 1, 0, 0])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 1),
        ("student_steps", 0),
        ("generator_steps", 0),
        ("gradient_clip_norm", 0.0),
        ("student_share", 0.5),
    ],
)
def test_bad_options_are_refused(teacher_ckpt, option, value):
    with pytest.raises(ValueError, match=option.replace("_steps", r"_training\.steps")):
        make_task(teacher_ckpt, **{option: value})


def test_share_is_checked_against_the_unfolded_teacher(teacher_ckpt):
    teacher = count_parameters(ResNet(10, (1, 16, 16), 10, 4))
    student = count_parameters(ResNet(10, (1, 16, 16), 10, 2))
    task, _ = make_task(teacher_ckpt, student_share=round(student / teacher, 2))
    assert task.run_facts["student_share"] == pytest.approx(student / teacher, abs=1e-4)


def test_balance_term_enters_the_generators_loss_only(teacher_ckpt):
    seen = {}
    for weight in (0.0, 2.0):
        pl.seed_everything(1)
        balance, balances = ClassBalanceLoss(weight), []
        task, data = make_task(teacher_ckpt, student_steps=1, objective_losses=[balance] if weight else None)
        balance.register_forward_hook(lambda *args, balances=balances: balances.append(args[-1].item()))
        losses = {}
        task.track = lambda name, value, _, losses=losses: losses.update({name: value.item()})
        make_trainer(limit_train_batches=1).fit(task, data)
        seen[weight] = losses, balances
    assert seen[0.0][1] == []
    assert seen[2.0][0]["loss_student"] == seen[0.0][0]["loss_student"]
    difference = seen[2.0][0]["loss_generator"] - seen[0.0][0]["loss_generator"]
    assert difference == pytest.approx(2 * seen[2.0][1][0], rel=1e-4)


def test_several_generator_steps(teacher_ckpt):
    task, data = make_task(teacher_ckpt, student_steps=2, generator_steps=3)
    recorder = Recorder()
    make_trainer(recorder, limit_train_batches=1).fit(task, data)
    assert [player for player, _ in recorder.steps] == ["student"] * 2 + ["generator"] * 3


@pytest.mark.parametrize(("warm_up", "steps_student"), [(0, 3), (2, 1)])
def test_schedules_are_stepped_once_an_epoch_and_the_students_after_the_warm_up(teacher_ckpt, warm_up, steps_student):
    task, data = make_task(
        teacher_ckpt,
        objective_losses=[OneHotLoss()],
        generator_pretrain_epochs=warm_up,
        student_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=1, gamma=0.5),
        generator_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=2, gamma=0.1),
    )
    trainer = make_trainer(max_epochs=3)
    trainer.fit(task, data)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
    assert rates == pytest.approx([0.1 / 2**steps_student, 1e-4])
