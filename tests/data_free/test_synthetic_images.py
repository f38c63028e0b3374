"""What data-free distillation watches of its images: where they collapse, and how it ends."""

import copy
import time
from itertools import pairwise
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, make_trainer, run_card, run_cli
from helpers.data_free import Recorder, make_task

from lightning_tasks import BatchNormStatisticsLoss, MemoryBank, OneHotLoss
from lightning_tasks.data_free import selection
from lightning_tasks.data_free.diversity import pairwise_distance
from lightning_tasks.data_free.generator import ImageGenerator
from lightning_tasks.data_free.generator_losses import SyntheticBatch
from lightning_tasks.data_free.held_out import HELD_OUT_BATCHES
from lightning_tasks.data_free.selection import draw_selection
from lightning_tasks.data_free.stopwatch import Stopwatch


def labelled(teacher_ckpt, **options):
    return make_task(
        teacher_ckpt, generator=lambda shape: ImageGenerator(shape, latent_dim=16, width=4), conditional=True, **options
    )


class TestConditional:
    def test_noise_names_the_class_and_has_the_mean_square_of_noise(self, teacher_ckpt):
        task, _ = labelled(teacher_ckpt)
        z, y = task.draw_noise(400, torch.Generator().manual_seed(1))
        assert z.shape == (400, 16)
        assert torch.equal(z[:, :10].argmax(dim=1), y)
        assert (z[:, :10] != 0).sum() == 400
        torch.testing.assert_close(z[:, :10].square().mean(), torch.tensor(1.0))
        assert 0.9 < z[:, 10:].std() < 1.1
        assert set(y.tolist()) == set(range(10))

    def test_the_generator_is_held_against_the_class_that_it_was_asked_for(self, teacher_ckpt):
        logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 5.0, 0.0]])
        asked = SyntheticBatch(torch.zeros(2, 1, 1, 1), None, logits, (), torch.tensor([2, 1]))
        by_hand = -(logits.log_softmax(1)[0, 2] + logits.log_softmax(1)[1, 1]) / 2
        torch.testing.assert_close(OneHotLoss()(asked), by_hand)
        assert OneHotLoss()(asked._replace(y=None)) < by_hand

        pl.seed_everything(3)
        task, data = labelled(teacher_ckpt, objective_losses=[OneHotLoss()], student_steps=1)
        seen = []
        task.objective.losses[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        asked_for = []
        task.generator.register_forward_pre_hook(lambda _, given: asked_for.append(given[0][:, :10].argmax(dim=1)))
        make_trainer(limit_train_batches=1).fit(task, data)
        assert any(torch.equal(seen[0].y, each) for each in asked_for)

    def test_noise_without_room_for_the_classes_is_refused(self, teacher_ckpt):
        with pytest.raises(ValueError, match="latent_dim must be above the 10 classes"):
            make_task(teacher_ckpt, conditional=True)  # 8 numbers


def test_the_student_waits_while_the_generator_warms_up(teacher_ckpt):
    task, data = make_task(
        teacher_ckpt, generator_pretrain_epochs=1, objective_losses=[OneHotLoss(2.0)], memory_bank=MemoryBank(64)
    )
    student = copy.deepcopy(task.student.state_dict())
    recorder, losses, asked = Recorder(), [], []
    task.track = lambda name, value, count: losses.append((name, value.item()))
    trainer = make_trainer(recorder, limit_train_batches=2, max_epochs=2, limit_val_batches=0)

    class Look(pl.Callback):
        def on_train_start(self, trainer, pl_module):  # it has been tried by then
            task.student.register_forward_hook(lambda module, *_: asked.append(module.training))

        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                same = zip(student.values(), pl_module.student.state_dict().values(), strict=True)
                assert all(torch.equal(a, b) for a, b in same)
                assert True not in asked
                assert len(pl_module.memory_bank) == 0
                assert pl_module.fake_class_counts.sum() == 2 * 8

    trainer.callbacks.append(Look())
    trainer.fit(task, data)
    assert [player for player, _ in recorder.steps] == ["generator"] * 2 + (["student"] * 5 + ["generator"]) * 2
    (one_hot, generator) = (value for name, value in losses[:2])
    assert generator == pytest.approx(2 * one_hot, rel=1e-5)  # no disagreement in it
    assert True in asked
    task, data = make_task(teacher_ckpt, generator_pretrain_epochs=3, objective_losses=[OneHotLoss()])
    trainer = make_trainer(max_epochs=2)
    with pytest.raises(ValueError, match="pretrain_epochs: 3 of 2 epochs leave the student none"):
        trainer.fit(task, data)
    with pytest.raises(ValueError, match=r"pretrain_epochs: .*objective\.losses"):
        make_task(teacher_ckpt, generator_pretrain_epochs=1)


def test_pairwise_distance_over_all_pairs():
    x = torch.randn(5, 2, 3, 3) + 4
    pairs = [(x[i] - x[j]).square().mean() for i in range(5) for j in range(i)]
    torch.testing.assert_close(pairwise_distance(x), (sum(pairs) / len(pairs)).sqrt())
    assert pairwise_distance(x[:1].expand(4, -1, -1, -1)) == 0


def test_the_watch_by_hand(teacher_ckpt):
    torch.manual_seed(2)
    task, data = make_task(teacher_ckpt, batch_size=16)
    trainer = make_trainer()
    trainer.fit(task, data)
    logged = trainer.callback_metrics
    task.eval()
    with torch.no_grad():
        x = task.held_out_images("val", 0)
        logits, statistics, features = task.teacher.observe(x)
        same = (task.student(x).argmax(1) == logits.argmax(1)).float().mean()
    distance = BatchNormStatisticsLoss()(SyntheticBatch(x, None, logits, statistics))
    assert logged["train/agreement"] == pytest.approx(same.item())
    assert logged["train/pairwise_distance"] == pytest.approx(pairwise_distance(x).item(), rel=1e-4)
    assert logged["train/statistics_distance"] == pytest.approx(distance.item(), rel=1e-4)
    seen, unit = logits.argmax(1), features / features.norm(dim=1, keepdim=True)
    pairs = [1 - unit[i] @ unit[j] for i in range(16) for j in range(i) if seen[i] == seen[j]]
    assert logged["train/same_class_distance"] == pytest.approx((sum(pairs) / len(pairs)).item(), rel=1e-3)
    shares = [logged[f"train/time_share_{name}"].item() for name in ("synthesis", "student", "generator")]
    assert all(0 < share < 1 for share in shares)
    assert sum(shares) <= 1


def test_the_choice_without_images_by_hand(teacher_ckpt):
    """Four validations, of which three agree best; of those the second has the lowest loss on synthetic images."""
    task, data = make_task(teacher_ckpt)
    seen = []
    agreements = iter([0.9, 0.7, 0.7, 0.7, 0.3])  # the first of the sanity check
    losses = iter([0.1, 0.5, 0.4, 0.6, 0.2])

    class Look(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append({name: value.item() for name, value in trainer.callback_metrics.items()})

    task.held_out.agreement.compute = lambda: torch.tensor(next(agreements))
    task.held_out.divergence.compute = lambda: torch.tensor(next(losses))
    make_trainer(Look(), max_epochs=4, num_sanity_val_steps=1, limit_val_batches=1.0).fit(task, data)
    chosen = task.run_facts["without_images"]
    assert chosen["epoch"] == 2
    assert chosen["val/agreement_synthetic"] == pytest.approx(0.7)
    assert chosen["val/loss_synthetic"] == pytest.approx(0.4)
    assert chosen["val/acc"] == pytest.approx(seen[2]["val/acc"])
    assert seen[4]["val/agreement_synthetic"] == pytest.approx(0.3)


def test_the_choice_without_images_is_of_an_epoch_in_which_the_student_learned(teacher_ckpt):
    """The two epochs of pretraining agree best: all images have one class, and the new student knows no other."""
    task, data = make_task(teacher_ckpt, generator_pretrain_epochs=2, objective_losses=[OneHotLoss()])
    agreements = iter([1.0, 0.9, 0.2, 0.1])
    task.held_out.agreement.compute = lambda: torch.tensor(next(agreements))
    make_trainer(max_epochs=4, num_sanity_val_steps=0, limit_val_batches=1.0).fit(task, data)
    assert task.run_facts["without_images"]["epoch"] == 3


def test_agreement_on_synthetic_images_by_hand(teacher_ckpt):
    torch.manual_seed(2)
    task, data = make_task(teacher_ckpt, batch_size=16)
    trainer = make_trainer(limit_val_batches=1.0)
    found = trainer.validate(task, data, verbose=False)[0]
    task.eval()
    with torch.no_grad():
        x = torch.cat([task.held_out_images("val", number) for number in range(HELD_OUT_BATCHES)])
        same = (task.student(x).argmax(1) == task.teacher(x).argmax(1)).float().mean()
        p, q = task.teacher(x).softmax(1), task.student(x).softmax(1)
    assert found["val/agreement_synthetic"] == pytest.approx(same.item())
    assert found["val/loss_synthetic"] == pytest.approx((p * (p / q).log()).sum(1).mean().item(), rel=1e-4)
    assert found["val/agreement"] != pytest.approx(same.item())


def collapsing(teacher_ckpt, then):
    return run_cli(
        "fit",
        *TINY_DFAD,
        *TINY_DATA,
        *TINY_TRAINER,
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--trainer.max_epochs=3",
        "--model.collapse_entropy=1.0",  # no histogram is that even
        f"--model.on_collapse={then}",
    )


def test_a_collapse_ends_the_run(teacher_ckpt):
    collapsing(teacher_ckpt, "stop")
    card = run_card()
    assert card["epochs"] == 1
    assert card["collapsed_epochs"] == 1
    assert card["ended_by"] == "collapse of the generator in epoch 1"


def test_a_collapse_starts_the_generator_anew(teacher_ckpt):
    task, data = make_task(teacher_ckpt, collapse_entropy=1.0, on_collapse="restart")
    weights, validated = [], []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            weights.append(pl_module.generator.layers[0].weight.detach().clone())
            assert len(trainer.optimizers[1].state) == 14

        def on_validation_end(self, trainer, pl_module):
            validated.append(torch.equal(pl_module.generator.layers[0].weight, weights[-1]))

        def on_train_end(self, trainer, pl_module):
            weights.append(pl_module.generator.layers[0].weight.detach().clone())
            assert len(trainer.optimizers[1].state) == 0

        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch:
                self.on_train_end(trainer, pl_module)

        def on_train_batch_start(self, trainer, pl_module, *_):
            weights.append(pl_module.generator.layers[0].weight.detach().clone())

    options = {"limit_train_batches": 2, "limit_val_batches": 1, "num_sanity_val_steps": 0}
    make_trainer(Look(), max_epochs=2, **options).fit(task, data)
    assert validated == [True, True]  # each epoch with its own generator
    assert task.run_facts["generator_restarts"] == task.run_facts["collapsed_epochs"] == 2
    # Of each epoch: before and after a round, before and after the next, after the restart.
    moved = [(b - a).abs().max() for a, b in pairwise(weights)]
    assert max(moved[0], moved[2]) < 0.01  # Adam moves by 1e-3 a step
    assert moved[3] > 0.1
    assert moved[4] == 0
    assert not torch.equal(weights[4], weights[9])  # another start each time


class TestAveragedGenerator:
    def test_the_average_by_hand_makes_the_students_images(self, teacher_ckpt):
        """Of three steps: the weights after the first, then half of it and half of the next, and again."""
        task, data = make_task(teacher_ckpt, generator_ema_decay=0.5, student_steps=1, generator_steps=3)
        weights, made, learned = [], [], []
        name = next(name for name, _ in task.generator.named_parameters())
        step, student = task.average_generator, task.train_student

        def follow():
            weights.append(task.generator.get_parameter(name).detach().clone())
            step()

        task.average_generator = follow
        task.generator_ema.register_forward_hook(lambda *given: made.append(given[-1]))

        def learn(optimizer, lessons):
            learned.extend(lesson.x for lesson in lessons)
            student(optimizer, lessons)

        task.train_student = learn
        make_trainer(limit_train_batches=1, limit_val_batches=0, num_sanity_val_steps=0).fit(task, data)
        first, second, third = weights
        by_hand = ((first + second) / 2 + third) / 2
        torch.testing.assert_close(task.generator_ema.module.get_parameter(name), by_hand)
        assert not torch.equal(by_hand, third)
        assert torch.equal(learned[0], made[0])
        assert torch.equal(task.held_out_images("val", 0), made[-1])
        assert not any(each.requires_grad for each in task.generator_ema.parameters())

    def test_a_restart_begins_the_average_anew(self, teacher_ckpt):
        task, data = make_task(teacher_ckpt, generator_ema_decay=0.9, collapse_entropy=1.0, on_collapse="restart")

        class Look(pl.Callback):
            def on_train_end(self, trainer, pl_module):
                ours, average = pl_module.generator.state_dict(), pl_module.generator_ema.module.state_dict()
                assert all(torch.equal(ours[name], average[name]) for name in ours)

        make_trainer(Look(), limit_train_batches=2, limit_val_batches=0).fit(task, data)
        assert task.run_facts["generator_restarts"] == 1

    def test_none_is_kept_without_the_option(self, teacher_ckpt):
        task, _ = make_task(teacher_ckpt)
        assert task.synthesiser is task.generator
        assert not any("ema" in name for name in task.state_dict())

    @pytest.mark.parametrize("decay", [0.0, 1.0])
    def test_a_decay_out_of_range_is_refused(self, teacher_ckpt, decay):
        with pytest.raises(ValueError, match=r"generator_ema_decay must be in \(0, 1\), got"):
            make_task(teacher_ckpt, generator_ema_decay=decay)


def test_images_of_another_shape_are_refused(teacher_ckpt):
    with pytest.raises(ValueError, match=r"generator: its images have shape \(1, 32, 32\)"):
        make_task(teacher_ckpt, generator=lambda shape: ImageGenerator((1, 32, 32), latent_dim=8, width=4))


def test_a_bank_beyond_memory_is_refused_before_the_start(teacher_ckpt):
    task, data = make_task(teacher_ckpt, memory_bank=MemoryBank(10**12))
    with pytest.raises(ValueError, match=r"1,000,000,000,000 images of shape \(1, 16, 16\) need 275,671.5 GiB"):
        make_trainer().fit(task, data)


def test_stopwatch_adds_up_the_parts():
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with watch.part("long"):
            time.sleep(0.06)
        with watch.part("short"):
            time.sleep(0.02)
    time.sleep(0.04)
    shares = watch.shares()
    assert shares["long"] > 2 * shares["short"] > 0.1
    assert 0.6 < sum(shares.values()) < 0.95


def test_the_picture_of_the_choice_without_images():
    """Five validations; images choose the third, the agreement the second, and neither the last.

    Equals of theirs, the fifth, have a greater loss.
    """
    names = ("val/agreement_synthetic", "val/acc", "val/loss_synthetic", "val/loss")
    rows = [(0.2, 0.1, 3, 3), (0.9, 0.3, 1, 2), (0.6, 0.5, 2, 1), (0.7, 0.4, 0, 0), (0.9, 0.5, 2, 2)]
    validations = [dict(zip(names, row, strict=True)) for row in rows]
    figure = draw_selection([2, 4, 6, 8, 10], validations)
    axes, colours = figure.axes
    # Ranks 1, 4.5, 2, 3, 4.5 and 1, 2, 4.5, 3, 4.5; covariance 3.25, variances 9.5, each times 5.
    assert axes.get_title() == "rank correlation over 5 validations: 0.34"
    images, without = axes.get_lines()
    assert (images.get_label(), images.get_xydata().tolist()) == (
        "chosen by images: epoch 6, 50.0% right",
        [[0.6, 0.5]],
    )
    assert (without.get_label(), without.get_xydata().tolist()) == (
        "chosen without images: epoch 4, 30.0% right",
        [[0.9, 0.3]],
    )
    assert axes.collections[0].get_offsets().tolist() == [[a, b] for a, b, _, _ in rows]
    assert axes.collections[0].get_array().tolist() == [2, 4, 6, 8, 10]
    assert colours.get_ylabel() == "epoch"
    assert "not defined" in draw_selection([1], validations[:1]).axes[0].get_title()


@pytest.mark.slow
def test_the_picture_is_drawn_by_a_run_of_the_epochs_after_the_warm_up(teacher_ckpt, monkeypatch):
    drawn = []
    monkeypatch.setattr(selection, "draw_selection", lambda *values: drawn.append(values[0]) or draw_selection(*values))
    run_cli(
        "fit",
        *TINY_DFAD,
        *TINY_DATA,
        *TINY_TRAINER,
        "--plots=true",
        f"--model.teacher_ckpt={teacher_ckpt}",
        "--trainer.max_epochs=3",
        "--model.generator_training.pretrain_epochs=1",
        "--model.objective.losses=[OneHotLoss]",
        "--trainer.callbacks=SelectionPlot",
    )
    assert drawn == [(2, 3)]
    assert Path("logs/dfad/version_0/figures/selection.png").exists()
    assert set(run_card()["without_images"]) == {"epoch", "val/agreement_synthetic", "val/loss_synthetic", "val/acc"}
