"""Random views of images: what they are made of, by hand; and that the teacher answers what the student sees."""

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import make_trainer
from helpers.data_free import make_task

from lightning_tasks import Augmentation, FeatureLoss, HintonLoss, MemoryBank
from lightning_tasks.data_free.noise import RandomSource


def noise(seed=0):
    return RandomSource.on(torch.device("cpu"), seed)


def images(count=200, height=5, width=7):
    """Image i has the values i + 1 + row / 10 + column / 100, the second channel the negative."""
    rows, columns = torch.arange(height)[:, None] / 10, torch.arange(width) / 100
    x = (torch.arange(1, count + 1).view(-1, 1, 1, 1) + rows + columns).double()
    return torch.cat([x, -x], dim=1)


class TestViews:
    def test_half_are_mirrored(self):
        x = images()
        found = Augmentation(flip=True, max_shift=0, mix_ratio=0)(x, noise())
        mirrored = (found == x.flip(3)).all(dim=3).all(dim=2).all(dim=1)
        same = (found == x).all(dim=3).all(dim=2).all(dim=1)
        assert (mirrored ^ same).all()
        assert 70 < mirrored.sum() < 130

    @pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
    def test_each_is_shifted_by_its_own_number_of_pixels(self, memory):
        x = images().contiguous(memory_format=memory)
        found = Augmentation(flip=False, max_shift=2, mix_ratio=0)(x, noise())
        assert found.is_contiguous(memory_format=memory)
        seen = set()
        for one, result in zip(x, found, strict=True):
            shifts = []
            for down in range(-2, 3):
                for right in range(-2, 3):
                    expected = torch.zeros_like(one)
                    rows = slice(max(down, 0), 5 + min(down, 0)), slice(max(-down, 0), 5 + min(-down, 0))
                    columns = slice(max(right, 0), 7 + min(right, 0)), slice(max(-right, 0), 7 + min(-right, 0))
                    expected[:, rows[0], columns[0]] = one[:, rows[1], columns[1]]
                    if torch.equal(result, expected):
                        shifts.append((down, right))
            assert len(shifts) == 1
            seen.update(shifts)
        assert len(seen) == 25

    def test_half_of_the_mixed_batches_are_interpolated_and_half_have_a_box(self):
        x = torch.arange(1.0, 65).view(-1, 1, 1, 1).expand(-1, 3, 8, 16).contiguous()
        interpolated, shares, corners = 0, [], set()
        for seed in range(300):
            found = Augmentation(flip=False, max_shift=0, mix_ratio=1)(x, noise(seed))
            assert torch.equal(found[:, :1].expand(-1, 3, -1, -1), found)
            flat = found[:, 0].flatten(1)
            if (flat == flat[:, :1]).all():  # of one value each
                if not torch.equal(flat[:, 0], flat[:, 0].round()):
                    interpolated += 1
                    lowest = (flat[:, 0] - 1).min()
                    assert lowest >= 0
                    assert flat.max() <= 64
                continue
            changed = (found[:, 0] != x[:, 0]).any(dim=0)
            rows, columns = changed.any(dim=1).nonzero().flatten(), changed.any(dim=0).nonzero().flatten()
            box = found[:, 0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert changed.sum() == box[0].numel()  # one box
            assert (box == box[:, :1, :1]).all()
            assert torch.equal(box[:, 0, 0].sort().values, x[:, 0, 0, 0])  # each image lends its box to one other
            assert abs(len(columns) - 2 * len(rows)) <= 1  # as wide for its height as the image
            shares.append(changed.float().mean().item())
            corners.add((rows[0].item(), columns[0].item()))
        assert 120 < interpolated < 180
        assert torch.tensor(shares).mean() == pytest.approx(0.5, abs=0.08)
        assert min(shares) < 0.1
        assert max(shares) > 0.75
        assert len(corners) > 30

    def test_interpolated_by_a_share_of_each_image_own(self):
        x = torch.eye(400).view(400, 1, 20, 20)  # image i is 1 at place i
        for seed in range(100):
            found = Augmentation(flip=False, max_shift=0, mix_ratio=1)(x, noise(seed)).flatten(1)
            own = found.diag()
            if len(own.unique()) > 300:
                break
        assert torch.allclose(found.sum(dim=1), torch.ones(400))
        assert (found > 0).sum(dim=1).max() == 2
        assert own.mean() == pytest.approx(0.5, abs=0.05)
        assert own.min() < 0.03
        assert own.max() > 0.97

    def test_share_of_the_mixed_batches(self):
        x = images(64).float()
        views = Augmentation(flip=False, max_shift=0, mix_ratio=0.3)
        same = sum(torch.equal(views(x, noise(seed)), x) for seed in range(400))
        assert 0.64 < same / 400 < 0.78

    def test_the_same_noise_gives_the_same(self):
        x = images(16)
        first, again, other = (Augmentation(max_shift=2)(x, noise(seed)) for seed in (4, 4, 5))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"max_shift": -1}, "max_shift must not be negative, got -1"),
            ({"mix_ratio": 1.5}, r"mix_ratio must be in \[0, 1\], got 1.5"),
            ({"flip": False, "max_shift": 0, "mix_ratio": 0.0}, "leave it out"),
        ],
    )
    def test_refused(self, options, said):
        with pytest.raises(ValueError, match=f"augmentation.*{said}"):
            Augmentation(**options)


class TestTask:
    @pytest.mark.parametrize("features", [False, True])
    @pytest.mark.parametrize("bank", [False, True])
    def test_the_teacher_answers_the_views_that_the_student_sees(self, teacher_ckpt, bank, features):
        task, data = make_task(
            teacher_ckpt,
            augmentation=Augmentation(max_shift=1),
            memory_bank=MemoryBank(32) if bank else None,
            student_feature_loss=FeatureLoss(["layer1.0", "layer3.0"]) if features else None,
            student_soft_loss=HintonLoss(),
            student_steps=2,
        )
        shown, given, targets = [], [], []
        views, compare = task.augmentation, task.student_training.loss

        def view(x, generator):
            given.append(x)
            shown.append(views(x, generator))
            return shown[-1]

        task.augmentation = view
        task.student.register_forward_pre_hook(
            lambda net, inputs: students.extend(inputs if net.training and trained else ())
        )
        task.student_training.loss = lambda ours, theirs, features: (
            targets.append(theirs.detach()),
            compare(ours, theirs, features),
        )[1]
        soft = task.student_training.soft_loss.forward
        task.student_training.soft_loss.forward = lambda ours, theirs, y: (
            softened.append(theirs.detach()),
            soft(ours, theirs, y),
        )[1]
        students, softened = [], []
        trained = []  # filled once training has begun: the student is tried before

        class Begin(pl.Callback):
            def on_train_start(self, trainer, pl_module):
                trained.append(True)

        make_trainer(Begin(), limit_train_batches=1, limit_val_batches=0, num_sanity_val_steps=0).fit(task, data)
        assert len(shown) == len(softened) == 2
        for number in range(2):
            assert students[number] is shown[number]
            assert not torch.equal(given[number], shown[number])
            with torch.no_grad():
                expected = task.teacher(shown[number])
            torch.testing.assert_close(targets[number], expected, rtol=1e-3, atol=1e-3)
            assert torch.equal(softened[number], targets[number])

    def test_a_shift_beyond_the_image_is_refused(self, teacher_ckpt):
        with pytest.raises(ValueError, match=r"augmentation\.max_shift must be less than the 16 pixels"):
            make_task(teacher_ckpt, augmentation=Augmentation(max_shift=16))
