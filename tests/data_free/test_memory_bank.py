"""The bank of synthetic images, and the losses that make it worth keeping."""

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TRAINER, make_trainer, run_cli
from helpers.data_free import make_task
from torch import nn
from torch.nn import functional as F

from lightning_tasks import ActivationLoss, BatchNormStatisticsLoss, HintonLoss, MemoryBank
from lightning_tasks.data_free import GeneratorObjective
from lightning_tasks.data_free.memory_bank import LARGEST
from lightning_tasks.data_free.noise import RandomSource

STEP = LARGEST / 127.5


def numbered(*numbers):
    """Images of 1 x 2 pixels: the left one half a step above a number of steps, the right one its negative."""
    return torch.tensor([[[[(number + 0.5) * STEP, -(number + 0.5) * STEP]]] for number in numbers])


def answer(x):
    """The number of the left pixel, and twice that."""
    left = (x[:, 0, 0, 0] / STEP - 0.5).round()
    return torch.stack([left, 2 * left], dim=1)


def noise(seed=0):
    return RandomSource.on(torch.device("cpu"), seed)


class Forget(pl.Callback):
    """Empties lists before the first step: networks are tried before they are trained."""

    def __init__(self, *lists):
        self.lists = lists

    def on_train_start(self, trainer, pl_module):
        for each in self.lists:
            each.clear()


class TestBank:
    def test_shifted_views_have_answers_of_their_own(self):
        bank = MemoryBank(100, max_shift=2)
        x = torch.zeros(3, 1, 5, 5)
        x[:, 0, 2, 2] = torch.tensor([1.0, 2.0, 3.0])
        seen = []

        def ask(views):
            seen.append(views)
            return views.amax(dim=(1, 2, 3))[:, None]

        for seed in range(30):
            bank.add(x, ask, noise(seed))
        places = set()
        for views in seen:
            assert views.shape == (6, 1, 5, 5)
            torch.testing.assert_close(views[:3], x, atol=STEP, rtol=0)
            peaks = views[3:].flatten(1).argmax(dim=1)
            assert len(peaks.unique()) == 1  # one shift a batch
            places.add((int(peaks[0]) // 5, int(peaks[0]) % 5))
            torch.testing.assert_close(views[3:].amax(dim=(1, 2, 3)), torch.tensor([1.0, 2.0, 3.0]), atol=STEP, rtol=0)
        assert len(places) > 12
        assert {0, 4} <= {row for row, _ in places} & {column for _, column in places}
        assert len(bank) == 100

    def contents(self, bank):
        return sorted(bank.state_dict()["answers"][:, 0].tolist())

    def test_images_are_answered_as_they_are_kept(self):
        bank, asked = MemoryBank(10), []

        def ask(x):
            asked.append(x)
            return answer(x)

        x = numbered(1, 5, 90) + 0.3 * STEP
        x[2, 0, 0, 1] = -9  # beyond what is kept
        answers = bank.add(x, ask, noise())
        (seen,) = asked
        torch.testing.assert_close(seen[:, 0, 0, 0] / STEP, torch.tensor([1.5, 5.5, 90.5]), atol=1e-3, rtol=0)
        assert seen[2, 0, 0, 1] == -LARGEST
        assert torch.equal(answers, answer(seen))
        drawn, targets, places = bank.draw(50, noise())
        assert torch.equal(targets, bank.state_dict()["answers"][places])
        assert (drawn.shape, targets.shape, targets.dtype) == ((50, 1, 1, 2), (50, 2), torch.float32)
        assert torch.equal(answer(drawn), targets)
        assert len(set(targets[:, 0].tolist())) == 3

    def test_the_oldest_make_room(self):
        bank = MemoryBank(5)
        for first in (1, 3, 5, 7, 9, 11):
            bank.add(numbered(first, first + 1), answer, noise())
            newest = list(range(max(1, first - 3), first + 2))
            assert self.contents(bank) == newest[-5:]
            state = bank.state_dict()
            assert torch.equal(answer((state["images"].float() / 127.5 - 1) * LARGEST), state["answers"])
        bank.add(numbered(*range(20, 28)), answer, noise())
        assert self.contents(bank) == list(range(23, 28))

    def test_the_easiest_make_room(self):
        """Places 1 and 3 of five are the easiest; then the two that came, which nobody has seen, stay."""
        bank = MemoryBank(5, eviction="easiest")
        bank.add(numbered(*range(5)), answer, noise())
        bank.rate(torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0.5, 0.125, 0.75, 0.25, 0.625]))
        bank.add(numbered(10, 11), answer, noise())
        assert self.contents(bank) == [0, 2, 4, 10, 11]
        again = MemoryBank(5, eviction="easiest")
        again.load_state_dict(bank.state_dict(), torch.device("cpu"))
        for each in (bank, again):
            each.add(numbered(20, 21), answer, noise())
            assert self.contents(each) == [2, 10, 11, 20, 21]
        bank.add(numbered(*range(30, 37)), answer, noise())
        assert self.contents(bank) == list(range(32, 37))

    def test_an_empty_one_is_taken_up_again(self):
        """As that of a run which was stopped while the generator warmed up."""
        again = MemoryBank(5)
        again.load_state_dict(MemoryBank(5).state_dict(), torch.device("cpu"))
        again.add(numbered(1, 2), answer, noise())
        assert self.contents(again) == [1, 2]

    def test_the_student_rates_what_it_has_seen(self, teacher_ckpt):
        """After its only step: by the mean absolute difference of both answers then."""
        task, data = make_task(teacher_ckpt, memory_bank=MemoryBank(64), student_steps=1)
        outputs = []
        task.student.register_forward_hook(lambda *args: outputs.append(args[-1].detach()))
        drawn, draw = [], task.memory_bank.draw
        task.memory_bank.draw = lambda count, generator: drawn.append(draw(count, generator)) or drawn[-1]
        make_trainer(Forget(outputs), limit_train_batches=1).fit(task, data)
        _, target, places = drawn[0]
        rated = task.memory_bank.state_dict()["difficulty"]
        for place, difference in zip(places.tolist(), (outputs[0] - target).abs().mean(1).tolist(), strict=True):
            assert rated[place] == pytest.approx(difference, rel=1e-4)
        unseen = set(range(len(task.memory_bank))) - set(places.tolist())
        assert all(rated[place] == float("inf") for place in unseen)

    def test_mirrored(self):
        bank = MemoryBank(10, flip=True)
        bank.add(numbered(3, 8), answer, noise())
        assert self.contents(bank) == [-9, -4, 3, 8]

    def test_mixed(self):
        """Between a new image and a kept one, by the same share in all pixels, with the teacher's answer to it."""
        bank = MemoryBank(100, mix_ratio=0.5)
        bank.add(numbered(10, 10), answer, noise())
        assert self.contents(bank) == [10] * 3  # nothing to mix with but themselves
        bank = MemoryBank(1000)
        bank.add(numbered(*[10] * 4), answer, noise())
        bank.mix_ratio = 0.5
        bank.add(numbered(*[110] * 400), answer, noise())
        state = bank.state_dict()
        mixed = state["answers"][404:, 0]
        assert len(mixed) == 200
        shares = (mixed - 10) / 100
        assert 0 <= shares.min() < 0.05 < 0.95 < shares.max() <= 1.001
        assert shares.mean() == pytest.approx(0.5, abs=0.1)
        images = (state["images"][404:].float() / 127.5 - 1) * LARGEST
        torch.testing.assert_close(images[..., 0], -images[..., 1], atol=1.1 * STEP, rtol=0)

    def test_it_is_repeated_to_the_bit_after_a_checkpoint(self):
        whole, parts = MemoryBank(7, mix_ratio=0.5), MemoryBank(7, mix_ratio=0.5)
        for bank, cut in ((whole, False), (parts, True)):
            random = noise()
            for first in (1, 5, 9):
                bank.add(numbered(*range(first, first + 4)), answer, random)
                if cut:
                    state = bank.state_dict()
                    bank = MemoryBank(7, mix_ratio=0.5)
                    bank.load_state_dict(state, torch.device("cpu"))
            drawn = bank.draw(30, random)
            if not cut:
                expected = drawn
        assert all(torch.equal(a, b) for a, b in zip(expected, drawn, strict=True))

    def test_what_is_no_number_becomes_the_mean(self):
        bank = MemoryBank(2)
        bank.add(torch.tensor([torch.nan, torch.inf]).view(2, 1, 1, 1), lambda x: x.flatten(1), noise())
        assert bank.state_dict()["images"].flatten().tolist() == [127, 255]

    @pytest.mark.parametrize(
        ("options", "said"), [({"size": 1}, "size must be"), ({"mix_ratio": 1.5}, "mix_ratio must")]
    )
    def test_refused(self, options, said):
        with pytest.raises(ValueError, match=said):
            MemoryBank(**options)


class TestTask:
    def test_the_activation_loss_is_of_the_teachers_features(self, teacher_ckpt):
        task, data = make_task(teacher_ckpt, objective_losses=[ActivationLoss()], objective_adversarial_weight=0.0)
        tracked, features, students = {}, [], []
        task.track = lambda name, value, count: tracked.update({name: value.item()})
        task.teacher.last_linear.register_forward_pre_hook(lambda _, given: features.append(given[0]))
        task.student.register_forward_hook(lambda *_: students.append(1))
        forget = Forget(students, features)
        make_trainer(forget, limit_train_batches=1, limit_val_batches=0, num_sanity_val_steps=0).fit(task, data)
        assert len(students) == 5 + 1  # the last for the watch; none in the generator's turn, which has no disagreement
        assert tracked["loss_activation"] == pytest.approx(-features[-2].abs().mean().item(), rel=1e-5)
        assert tracked["loss_generator"] == pytest.approx(tracked["loss_activation"], rel=1e-5)

    def test_a_generator_without_any_loss_is_refused(self, teacher_ckpt):
        with pytest.raises(ValueError, match="the generator learns nothing"):
            make_task(teacher_ckpt, objective_adversarial_weight=0.0)

    def test_the_students_loss_by_its_weights(self, teacher_ckpt):
        seen = {}
        for weight in (1.0, 0.25):
            pl.seed_everything(1)
            task, data = make_task(
                teacher_ckpt, student_soft_loss=HintonLoss(2.0), student_l1_weight=weight, student_steps=1
            )
            tracked = {}
            task.track = lambda name, value, count, tracked=tracked: tracked.update({name: value.item()})
            make_trainer(limit_train_batches=1).fit(task, data)
            seen[weight] = tracked["loss_student"] - tracked["loss_soft"]
        assert seen[0.25] == pytest.approx(seen[1.0] / 4, rel=1e-3)
        with pytest.raises(ValueError, match="l1_weight: with 0 and no other loss the student learns nothing"):
            make_task(teacher_ckpt, student_l1_weight=0.0)

    def test_the_student_learns_from_the_bank(self, teacher_ckpt):
        """The teacher answers one batch a round for it; losses as of the images that were drawn."""
        pl.seed_everything(1)
        soft = HintonLoss(2.0)
        task, data = make_task(teacher_ckpt, memory_bank=MemoryBank(20), student_soft_loss=soft, student_steps=3)
        asked, drawn, tracked = [], [], []
        teacher = task.teacher.forward
        task.teacher.forward = lambda x: asked.append(len(x)) or teacher(x)
        draw = task.memory_bank.draw
        task.memory_bank.draw = lambda count, generator: drawn.append(draw(count, generator)) or drawn[-1]
        student = task.student.forward
        answered = []
        task.student.forward = lambda x: answered.append((x, student(x))) or answered[-1][1]
        task.track = lambda name, value, count: tracked.append((name, value.item()))
        make_trainer(Forget(asked, answered), limit_train_batches=2).fit(task, data)
        assert asked == [8, 8] * 2  # of the bank, then of the generator
        assert len(task.memory_bank) == 16
        names = ["loss_soft", "loss_student"] * 3 + ["loss_generator"]
        assert [name for name, _ in tracked] == names * 2
        (x, logits), (kept, target, _) = answered[0], (each[:8] for each in drawn[0])
        assert torch.equal(x, kept)
        expected = F.l1_loss(logits, target) + soft(logits, target, target.argmax(1))
        assert tracked[1][1] == pytest.approx(expected.item(), rel=1e-5)

    @pytest.mark.slow
    def test_a_resumed_run_ends_with_the_same_weights(self, teacher_ckpt, tmp_path):
        words = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, f"--model.teacher_ckpt={teacher_ckpt}"]
        words += [
            "--model.memory_bank=MemoryBank",
            "--model.memory_bank.size=20",
            "--model.memory_bank.mix_ratio=0.5",
            "--model.memory_bank.eviction=easiest",
            "--model.student_training.soft_loss=HintonLoss",
        ]
        words += ["--model.objective.losses=[{class_path: BatchNormStatisticsLoss},{class_path: OneHotLoss}]"]
        run_cli(*words, "--trainer.max_epochs=3", "--experiment=whole")
        run_cli(*words, "--trainer.max_epochs=1", "--experiment=parts")
        run_cli(*words, "--trainer.max_epochs=3", "--experiment=parts", "--ckpt_path=last")
        last = [
            torch.load(f"logs/{name}/version_0/checkpoints/last.ckpt", weights_only=True) for name in ("whole", "parts")
        ]
        assert torch.equal(last[0]["memory_bank"]["images"], last[1]["memory_bank"]["images"])
        for name, value in last[0]["state_dict"].items():
            assert torch.equal(value, last[1]["state_dict"][name]), name

    def test_a_teacher_without_batchnorm(self):
        from datamodules import DigitsDataModule
        from lightning_tasks import DFADTask, ResNet

        flat = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
        with pytest.raises(ValueError, match="the teacher has no BatchNorm layer; leave BatchNormStatisticsLoss out"):
            DFADTask(
                DigitsDataModule().data_spec,
                flat,
                lambda classes, shape: ResNet(classes, shape, depth=10, width=2),
                None,
                objective=GeneratorObjective([BatchNormStatisticsLoss()]),
            )


def test_a_checkpoint_holds_a_copy_in_host_memory_of_the_images_there_are():
    bank = MemoryBank(size=64)
    bank.add(torch.zeros(2, 3, 4, 4), lambda x: x.mean(dim=(2, 3)), noise())
    state = bank.state_dict()
    assert state["images"].device.type == "cpu"
    assert state["images"].untyped_storage().nbytes() == 2 * 3 * 4 * 4
    before = state["images"].clone()
    bank.add(torch.ones(62, 3, 4, 4), lambda x: x.mean(dim=(2, 3)), noise())
    bank.add(torch.ones(2, 3, 4, 4), lambda x: x.mean(dim=(2, 3)), noise())
    assert torch.equal(state["images"], before)
