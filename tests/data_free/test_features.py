"""A student that starts with a part of its teacher, and learns what its layers give."""

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import make_trainer
from helpers.data_free import make_task
from pytorch_lightning import Callback
from torch import nn
from torch.nn import functional as F

from lightning_tasks import FeatureLoss, HintonLoss, MemoryBank, ResNet, WideResNet
from lightning_tasks.networks import WithFeatures, build_network, evenly, recorded, require_layers, select_weights

BLOCKS = ["layer1.0", "layer3.0"]


def test_places_at_equal_distances():
    assert evenly(3, 7).tolist() == [0, 2, 4]
    assert evenly(4, 6).tolist() == [0, 1, 3, 4]
    assert evenly(5, 5).tolist() == [0, 1, 2, 3, 4]


def test_weights_are_chosen_along_each_dimension():
    """Rows 0 and 1 of 3, columns 0, 1 and 3 of 5; the layer that the small network lacks is skipped."""
    large = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 9))
    small = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        large[0].weight.copy_(torch.arange(15.0).view(3, 5))
        large[0].bias.copy_(torch.tensor([20.0, 21.0, 22.0]))
        large[1].running_var.copy_(torch.tensor([0.5, 0.25, 0.125]))
        large[1].num_batches_tracked.fill_(7)
    select_weights(small, large)
    assert small[0].weight.tolist() == [[0, 1, 3], [5, 6, 8]]
    assert small[0].bias.tolist() == [20, 21]
    assert small[1].running_var.tolist() == [0.5, 0.25]
    assert small[1].num_batches_tracked == 7
    assert large[0].weight.shape == (3, 5)


def test_a_network_that_hides_its_further_channels_is_found_again():
    """A wide network in which all channels but the chosen ones are silent answers as its part does."""
    torch.manual_seed(0)
    small, large, part = (ResNet(10, (1, 16, 16), depth=10, width=width).eval() for width in (2, 6, 2))
    chosen = small.state_dict()
    weights = {name: torch.zeros_like(value) for name, value in large.state_dict().items()}
    for name, value in chosen.items():
        for noise in [value.normal_(0, 0.3).abs_()] if value.is_floating_point() else []:
            assert noise.min() >= 0
        places = [evenly(size, of) for size, of in zip(value.shape, weights[name].shape, strict=True)]
        weights[name][torch.meshgrid(*places, indexing="ij") if places else ()] = value
    large.load_state_dict(weights)
    select_weights(part, large)
    x = torch.randn(3, 1, 16, 16)
    assert large(x).std() > 0.1
    torch.testing.assert_close(part(x), large(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(part(x), small(x))


@pytest.mark.parametrize(
    ("small", "message"),
    [
        (ResNet(10, (1, 16, 16), depth=10, width=8), r"conv1.weight of shape \(8, 1, 3, 3\) .*\(4, 1, 3, 3\)"),
        (ResNet(10, (1, 16, 16), depth=18, width=4), r"layer1.1.conv1.weight of shape .*: none"),
        (WideResNet(10, (1, 16, 16), depth=10, width=1), "of shape .* cannot be a part of the larger network's"),
    ],
    ids=["wider", "deeper", "another"],
)
def test_what_is_no_part_is_refused(small, message):
    with pytest.raises(ValueError, match=message):
        select_weights(small, ResNet(10, (1, 16, 16), depth=10, width=4))


def features(seed, batch, channels):
    torch.manual_seed(seed)
    return {"a": torch.randn(batch, channels, 3, 3), "b": torch.randn(batch, 2 * channels)}


def plainly(student, teacher):
    distances = [
        (student[name] - teacher[name][:, ::2]).square().mean() / teacher[name][:, ::2].square().mean()
        for name in ("a", "b")
    ]
    return sum(distances) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_and_its_gradient_are_those_of_the_plain_way(dtype):
    ours = {name: value.to(dtype).requires_grad_() for name, value in features(1, 4, 3).items()}
    copies = {name: value.detach().clone().requires_grad_() for name, value in ours.items()}
    theirs = {name: value.to(dtype) for name, value in features(2, 4, 6).items()}
    loss = FeatureLoss(["a", "b"])(ours, theirs)
    expected = plainly({k: v.float() for k, v in copies.items()}, {k: v.float() for k, v in theirs.items()})
    torch.testing.assert_close(loss, expected)
    (3 * loss).backward()
    (3 * expected).backward()
    for name, value in ours.items():
        torch.testing.assert_close(value.grad, copies[name].grad)


def test_hints_of_several_batches_are_those_of_each():
    loss, theirs, shapes = FeatureLoss(["a", "b"]), features(1, 6, 4), {"a": (2, 3, 3), "b": (4,)}
    together = loss.hints(theirs, shapes, batches=3)
    for number, hint in enumerate(together):
        (alone,) = loss.hints({name: value[2 * number :][:2] for name, value in theirs.items()}, shapes)
        torch.testing.assert_close(hint.sizes, alone.sizes)
        assert all(torch.equal(a, b) for a, b in zip(hint.features, alone.features, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("network", [ResNet, lambda *shape: build_network(sequence, *shape)], ids=["ResNet", "own"])
def test_a_compiled_network_gives_its_features_too(network):
    torch.manual_seed(1)
    made = network(10, (1, 16, 16)).eval()
    layers = ["layer1.0", "layer3.1"] if isinstance(made, ResNet) else ["0", "2"]
    plain, compiled = (WithFeatures(made, layers) for _ in range(2))
    compiled.compile(backend="eager", fullgraph=True)
    x = torch.randn(2, 1, 16, 16)
    logits, outputs = plain(x)
    found, given = compiled(x)
    assert torch.equal(logits, made(x))
    torch.testing.assert_close(found, logits)
    assert list(given) == list(outputs) == layers
    for name in layers:
        torch.testing.assert_close(given[name], outputs[name])


def sequence(num_classes, image_shape):
    return nn.Sequential(nn.Conv2d(image_shape[0], 3, 3), nn.Flatten(), nn.LazyLinear(num_classes))


def test_a_student_starts_as_a_part_of_its_teacher_and_goes_on_as_it_was_left(teacher_ckpt, tmp_path):
    starts = []

    class Start(Callback):
        def on_train_start(self, trainer, task):
            starts.append({name: value.clone() for name, value in task.student.state_dict().items()})

    task, data = make_task(teacher_ckpt, student_from_teacher=True, ema_decay=0.9)
    trainer = make_trainer(Start())
    trainer.fit(task, data)
    teacher = torch.load(teacher_ckpt, weights_only=True)["state_dict"]
    assert torch.equal(starts[0]["layer2.0.conv2.weight"], teacher["network.layer2.0.conv2.weight"][::2, ::2])
    assert torch.equal(starts[0]["fc.weight"], teacher["network.fc.weight"][:, ::2])
    assert torch.equal(starts[0]["bn1.running_var"], teacher["network.bn1.running_var"][::2])
    trainer.save_checkpoint(tmp_path / "left.ckpt", weights_only=False)
    left = {name: value.clone() for name, value in task.student.state_dict().items()}
    again, data = make_task(teacher_ckpt, student_from_teacher=True, ema_decay=0.9)
    make_trainer(Start(), max_epochs=2).fit(again, data, ckpt_path=tmp_path / "left.ckpt")
    assert all(torch.equal(value, starts[1][name]) for name, value in left.items())
    assert not torch.equal(starts[0]["fc.weight"], starts[1]["fc.weight"])


def test_a_student_that_is_no_part_is_refused_in_one_line(teacher_ckpt):
    with pytest.raises(ValueError, match=r"student_from_teacher: conv1.weight of shape \(6, 1, 3, 3\) cannot"):
        make_task(teacher_ckpt, student_width=6, student_from_teacher=True)


def test_distance_of_features_by_hand():
    """A layer with channels 0 and 1 of 3, and one as wide as the teacher's, whose distance is 1 / 4."""
    student = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[[[1.0, 3.0]]]])}
    teacher = {"a": torch.tensor([[1.0, 4.0, 100.0]]), "b": torch.tensor([[[[2.0, 4.0]]]])}
    a, b = (0 + 4) / (1 + 16), (1 + 1) / (4 + 16)
    assert FeatureLoss(["a", "b"])(student, teacher).item() == pytest.approx((a + b) / 2)
    assert FeatureLoss(["a"])(student, teacher).item() == pytest.approx(a)


def test_features_of_half_precision_are_compared_in_float32():
    ours, theirs = torch.full((2, 3), 1.0), torch.full((2, 3), 1 + 2**-7)
    found = FeatureLoss(["a"])({"a": ours.bfloat16()}, {"a": theirs.bfloat16()})
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx((2**-7 / (1 + 2**-7)) ** 2, rel=1e-4)


def test_layers_are_recorded_only_inside():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = torch.randn(4, 2)
    with recorded(network, ["1", "0"]) as outputs:
        y = network(x)
    assert list(outputs) == ["0", "1"]
    assert torch.equal(outputs["1"], y)
    assert torch.equal(outputs["0"], network[0](x))
    network(x + 1)
    assert torch.equal(outputs["1"], y)
    with pytest.raises(ValueError, match=r"no layer '2' in the network; known are 0, 1$"), recorded(network, ["2"]):
        pass
    many = [str(number) for number in range(45)]
    with pytest.raises(ValueError, match=r"known are 0, .*, 9 and 35 more$"):
        require_layers(["x"], many)
    with pytest.raises(ValueError, match="layer '1' gives no tensor"), recorded(network, ["0", "1"]) as outputs:
        network[0](x)
    network(x + 1)
    assert list(outputs) == ["0"]
    assert torch.equal(outputs["0"], network[0](x))


@pytest.mark.parametrize("ours", [(2, 4, 5), (2, 3, 1)], ids=["more channels", "other positions"])
def test_features_that_are_no_part_are_refused(ours):
    student, teacher = {"a": torch.zeros(ours)}, {"a": torch.ones(2, 3, 5)}
    with pytest.raises(ValueError, match=r"feature_loss: a gives \(., .\) in the student, .* teacher's \(3, 5\)"):
        FeatureLoss(["a"])(student, teacher)


@pytest.mark.parametrize("bank", [False, True])
def test_the_students_loss_is_that_of_answers_and_features(teacher_ckpt, bank):
    """In the first step of the student, against the networks as they were, on the images that it was given."""
    pl.seed_everything(1)
    options = {"memory_bank": MemoryBank(64)} if bank else {}
    task, data = make_task(
        teacher_ckpt,
        student_feature_loss=FeatureLoss(BLOCKS, 3.0),
        student_soft_loss=HintonLoss(),
        student_l1_weight=0.5,
        **options,
    )
    losses, seen = {}, []
    task.track = lambda name, value, count: losses.setdefault(name, value.item())
    turn = task.train_student

    def watch(optimizer, lessons):
        seen.append((lessons[0], {name: value.clone() for name, value in task.student.state_dict().items()}))
        turn(optimizer, lessons)

    task.train_student = watch
    make_trainer(limit_train_batches=1).fit(task, data)
    (x, target, *_), weights = seen[0]
    student = ResNet(10, (1, 16, 16), depth=10, width=2)
    student.load_state_dict(weights, strict=False)  # without the counters of batches, which are counted elsewhere
    with recorded(student, BLOCKS) as ours, recorded(task.teacher.network, BLOCKS) as theirs, torch.no_grad():
        logits, logits_t = student(x), task.teacher.network(x)
    torch.testing.assert_close(logits_t, target, rtol=1e-3, atol=1e-3)
    distances = [
        ((ours[each] - theirs[each][:, ::2]) ** 2).sum() / (theirs[each][:, ::2] ** 2).sum() for each in BLOCKS
    ]
    features = (distances[0] + distances[1]) / 2
    whole = 0.5 * F.l1_loss(logits, target) + HintonLoss()(logits, target, target.argmax(1)) + 3 * features
    assert losses["loss_features"] == pytest.approx(features.item(), rel=1e-4)
    assert losses["loss_student"] == pytest.approx(whole.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"student_feature_loss": FeatureLoss(["layer9"])},
            "feature_loss: student: no layer 'layer9' in the network; known are",
        ),
        (
            {"student_feature_loss": FeatureLoss(["layer1.0.bn1"]), "compile": True},
            "feature_loss: student: with compile",
        ),
        ({"objective_max_shift": -1}, "objective.max_shift must not be negative, got -1"),
        ({"objective_max_shift": 16}, "objective.max_shift must be less than the 16 pixels of a side, got 16"),
        (
            {"memory_bank": MemoryBank(8, max_shift=20)},
            "memory_bank.max_shift must be less than the 16 pixels",
        ),
    ],
    ids=["layer", "compile", "negative", "beyond", "bank"],
)
def test_bad_options_are_refused(teacher_ckpt, options, message):
    with pytest.raises(ValueError, match=message):
        make_task(teacher_ckpt, **options)


@pytest.mark.parametrize(("layers", "weight"), [([], 1.0), (BLOCKS, 0.0)])
def test_a_loss_of_nothing_is_refused(layers, weight):
    with pytest.raises(ValueError, match="feature_loss: "):
        FeatureLoss(layers, weight)


def test_the_generator_is_judged_on_shifted_views_and_the_student_taught_whole_images(teacher_ckpt):
    """Of twelve views some are shifted and some mirrored, each is a view of what was invented."""
    task, data = make_task(teacher_ckpt, objective_max_shift=2, generator_steps=6)
    views, made = [], []
    invent, teacher = task.synthesise, task.teacher

    def keep(*args):
        made.append(invent(*args))
        return made[-1]

    task.synthesise = keep
    teacher.register_forward_pre_hook(lambda _, inputs: views.append(inputs[0].detach()))

    class Begin(pl.Callback):
        def on_train_start(self, trainer, pl_module):  # the teacher is tried before
            views.clear()

    make_trainer(Begin(), limit_train_batches=2).fit(task, data)
    assert torch.equal(views[0], torch.cat([x for x, _ in made[:5]]))  # the student's five batches, as they are
    pairs = [
        (made[11 * turn + 5 + step][0].detach(), views[7 * turn + 1 + step]) for turn in (0, 1) for step in range(6)
    ]
    kinds = [kind_of_view(*each) for each in pairs]
    assert {mirrored for mirrored, _ in kinds} == {False, True}
    assert len({shift for _, shift in kinds}) > 3


def kind_of_view(x, view):
    """Say whether a view is mirrored, and by how many pixels each way it is shifted."""
    for mirrored in (False, True):
        padded = F.pad(x.flip(3) if mirrored else x, [2] * 4)
        for top in range(5):
            for left in range(5):
                if torch.equal(padded[:, :, top : top + 16, left : left + 16], view):
                    return mirrored, (top, left)
    raise AssertionError("no view of these images")
