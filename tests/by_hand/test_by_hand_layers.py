"""The room of hand-written backpropagation: every derivative against autograd's, every update against torch.optim's."""

import ast
import doctest

import numpy as np
import pytest
import torch
from helpers.commands import ROOT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lightning_tasks import by_hand
from lightning_tasks.by_hand import (
    Conv2d,
    Flatten,
    GradientDescent,
    L2Penalty,
    Linear,
    MaxPool2d,
    Momentum,
    Network,
    ReLU,
    RMSProp,
    SoftmaxCrossEntropy,
    one_hot,
    standard_deviation,
)

ROOM = ROOT / "lightning_tasks" / "by_hand"
PRECISION = 1e-10
sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


def normal(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rounded(seed, *shape):
    """Halves from -1.5 to 1.5, so that equal numbers meet in almost every square."""
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).double() / 2


def give_weights(layer, seed):
    for name, shape in layer.weight_shapes.items():
        setattr(layer, name, normal(seed + len(name), *shape))


def difference(ours, theirs):
    """Largest difference, relative to the largest number."""
    assert ours.shape == theirs.shape
    scale = max(theirs.abs().max().item(), 1e-300)
    return (ours - theirs).abs().max().item() / scale if theirs.abs().max() else ours.abs().max().item()


def check(layer, x, reference):
    """Compare forward and backward of a layer with a PyTorch function of x and the weights, for a random dy."""
    give_weights(layer, 1)
    y = layer.forward(x)
    inputs = [x, *(getattr(layer, name) for name in layer.weight_shapes)]
    inputs = [each.clone().requires_grad_() for each in inputs]
    expected = reference(*inputs)
    assert difference(y, expected.detach()) <= PRECISION
    assert tuple(y.shape[1:]) == layer.output_shape(tuple(x.shape[1:]))
    dy = normal(2, *y.shape)
    dx = layer.backward(dy)
    gradients = torch.autograd.grad(expected, inputs, dy)
    assert difference(dx, gradients[0]) <= PRECISION
    for name, gradient in zip(layer.weight_shapes, gradients[1:], strict=True):
        assert difference(getattr(layer, f"d_{name}"), gradient) <= PRECISION
    assert layer.backward(dy, wants_dx=False) is None


@given(sizes, sizes, sizes, seeds)
def test_linear(batch, features, outputs, seed):
    check(Linear(features, outputs), normal(seed, batch, features), lambda x, w, b: x @ w + b)


@given(sizes, sizes, sizes, sizes, seeds)
def test_relu_and_flatten(batch, channels, height, width, seed):
    check(ReLU(), rounded(seed, batch, channels, height, width), F.relu)
    check(Flatten(), normal(seed, batch, channels, height, width), lambda x: x.flatten(1))


@given(sizes, st.integers(1, 3), st.integers(1, 3), sizes, sizes, st.sampled_from([1, 3, 5]), seeds)
def test_conv2d(batch, channels, outputs, height, width, size, seed):
    x = normal(seed, batch, channels, height, width)
    check(Conv2d(channels, outputs, size), x, lambda x, w, b: F.conv2d(x, w, b, padding="same"))


@given(sizes, sizes, sizes, sizes, seeds, st.sampled_from([normal, rounded]))
def test_max_pool_with_and_without_ties(batch, channels, height, width, seed, numbers):
    check(MaxPool2d(), numbers(seed, batch, channels, 2 * height, 2 * width), lambda x: F.max_pool2d(x, 2))


def test_a_tie_goes_to_the_first_of_the_square():
    layer = MaxPool2d()
    layer.forward(torch.tensor([[[[1.0, 3.0, 0.0, 0.0], [3.0, 3.0, 0.0, 0.0]]]]))
    dx = layer.backward(torch.tensor([[[[5.0, 7.0]]]]))
    assert dx.tolist() == [[[[0, 5, 7, 0], [0, 0, 0, 0]]]]


@given(sizes, st.integers(2, 12), seeds, st.floats(1, 1000))
def test_softmax_cross_entropy(batch, classes, seed, scale):
    z = (scale * normal(seed, batch, classes)).requires_grad_()
    y = torch.randint(classes, (batch,), generator=torch.Generator().manual_seed(seed))
    t = one_hot(y, classes, like=z.detach())
    expected = F.cross_entropy(z, y)
    expected.backward()
    loss = SoftmaxCrossEntropy()
    assert loss.forward(z.detach(), t).item() == pytest.approx(expected.item(), rel=PRECISION, abs=1e-300)
    torch.testing.assert_close(loss.backward(z.detach(), t), z.grad, rtol=PRECISION, atol=1e-15)


def test_loss_by_a_hand_computed_value():
    """Two classes with scores 0 and log 3: probabilities 1/4 and 3/4."""
    z, t = np.array([[0.0, np.log(3.0)]]), np.array([[1.0, 0.0]])
    loss = SoftmaxCrossEntropy()
    assert loss.forward(z, t) == pytest.approx(np.log(4))
    assert loss.backward(z, t) == pytest.approx(np.array([[-0.75, 0.75]]))


@given(sizes, sizes, seeds, st.floats(0, 2, allow_subnormal=False))
def test_l2_penalty(height, width, seed, strength):
    weight = normal(seed, height, width).requires_grad_()
    penalty = L2Penalty(strength)
    expected = strength / 2 * weight.square().sum()
    (gradient,) = torch.autograd.grad(expected, weight)
    assert penalty.forward(weight.detach()).item() == pytest.approx(expected.item(), rel=PRECISION, abs=1e-300)
    torch.testing.assert_close(penalty.backward(weight.detach()), gradient, rtol=PRECISION, atol=1e-300)


def small_cnn(side, channels, hidden, size):
    quarter = side // 4
    return [
        Conv2d(1, channels, size),
        ReLU(),
        MaxPool2d(),
        Conv2d(channels, channels, size),
        ReLU(),
        MaxPool2d(),
        Flatten(),
        Linear(channels * quarter**2, hidden),
        ReLU(),
        Linear(hidden, 10),
    ]


def reference_cnn(x, w1, b1, w2, b2, w3, b3, w4, b4):
    x = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding="same")), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w2, b2, padding="same")), 2)
    return F.relu(x.flatten(1) @ w3 + b3) @ w4 + b4


@settings(max_examples=25)
@given(sizes, st.sampled_from([4, 8, 12]), st.integers(1, 4), sizes, st.sampled_from([3, 5]), seeds)
def test_whole_network_by_the_chain_rule(batch, side, channels, hidden, size, seed):
    network = Network(small_cnn(side, channels, hidden, size), (1, side, side))
    weights = []
    for name, layer, weight in network.weights():
        give_weights(layer, seed % 1000)
        weights.append((name, layer, weight))
    x = normal(seed, batch, 1, side, side)
    y = torch.randint(10, (batch,), generator=torch.Generator().manual_seed(seed))
    inputs = [getattr(layer, weight).clone().requires_grad_() for _, layer, weight in weights]
    expected = F.cross_entropy(reference_cnn(x, *inputs), y)
    gradients = torch.autograd.grad(expected, inputs)
    assume(all(gradient.abs().max() > 1e-12 for gradient in gradients))
    loss = SoftmaxCrossEntropy()
    z = network.forward(x)
    t = one_hot(y, 10, like=z)
    assert loss.forward(z, t).item() == pytest.approx(expected.item(), rel=PRECISION)
    network.backward(loss.backward(z, t))
    for (name, layer, weight), gradient in zip(weights, gradients, strict=True):
        assert difference(getattr(layer, f"d_{weight}"), gradient) <= PRECISION, name


def test_one_number_from_pixel_to_update():
    """The example on the first page of the room."""
    results = doctest.testmod(by_hand)
    assert results.attempted > 10
    assert results.failed == 0


@pytest.mark.parametrize("width", ["float32", "float64"])
def test_numpy_and_torch_compute_the_same(width):
    x = np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype(width)
    y = np.arange(5)
    found = []
    for convert in (lambda array: array, torch.from_numpy):
        network = Network(small_cnn(8, 3, 6, 3), (1, 8, 8))
        for index, (_, layer, weight) in enumerate(network.weights()):
            numbers = np.random.default_rng(index).standard_normal(layer.weight_shapes[weight]) / 3
            setattr(layer, weight, convert(numbers.astype(width)))
        z = network.forward(convert(x))
        network.backward(SoftmaxCrossEntropy().backward(z, one_hot(convert(y), 10, like=z)))
        found.append([z, *(getattr(layer, f"d_{weight}") for _, layer, weight in network.weights())])
        assert all(type(array) is type(convert(x)) for array in found[-1])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(np.asarray(theirs), ours, rtol=1e-4 if width == "float32" else 1e-12, atol=1e-6)
        assert str(ours.dtype) == width


RULES = {
    "GradientDescent": (lambda rate: GradientDescent(rate), torch.optim.SGD, {}),
    "Momentum": (lambda rate: Momentum(rate, 0.9), torch.optim.SGD, {"momentum": 0.9}),
    "RMSProp": (lambda rate: RMSProp(rate, 0.9), torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-8}),
}


@pytest.mark.parametrize("name", RULES)
@given(rate=st.floats(1e-4, 1), seed=seeds)
def test_update_rules_step_like_torch_optim(name, rate, seed):
    make, optimizer_class, options = RULES[name]
    rule = make(rate)
    w = normal(seed, 4, 3)
    states = [torch.zeros_like(w) for _ in rule.states]
    parameter = w.clone().requires_grad_()
    optimizer = optimizer_class([parameter], lr=rate, **options)
    for step in range(5):
        g = normal(seed ^ (step + 1), 4, 3)
        parameter.grad = g.clone()
        optimizer.step()
        rule.update(w, g, *states)
        assert difference(w, parameter.detach()) <= 1e-12


def test_a_rule_changes_numpy_arrays_in_place():
    for make, _, _ in RULES.values():
        rule = make(0.1)
        w, g = np.ones((2, 2)), np.full((2, 2), 0.5)
        view = w[0]
        rule.update(w, g, *(np.zeros((2, 2)) for _ in rule.states))
        assert (view < 1).all()


def test_schedule_scales_the_learning_rate():
    for make, _, _ in RULES.values():
        a, b = make(0.1), make(0.05)
        states = [[torch.zeros(3) for _ in rule.states] for rule in (a, b)]
        w = [torch.ones(3), torch.ones(3)]
        a.update(w[0], torch.arange(3.0), *states[0], scale=0.5)
        b.update(w[1], torch.arange(3.0), *states[1])
        torch.testing.assert_close(*w)


def test_initialisations():
    assert standard_deviation("he", 50, 10) == pytest.approx(0.2)
    assert standard_deviation("xavier", 150, 50) == pytest.approx(0.1)
    assert standard_deviation("random", 50, 10) == 0.01


def test_the_room_knows_no_library_that_differentiates():
    """Only the standard library, the array API and the room itself: no torch, so no autograd, torch.nn, torch.optim."""
    imported = set()
    files = [*ROOM.glob("*.py"), ROOM.parent / "initialisation.py"]
    files.remove(ROOM / "task.py")  # which gives it to Lightning
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
                assert node.level == 0
    outside = {name.split(".")[0] for name in imported} - {"lightning_tasks"}
    assert outside == {"array_api_compat", "collections", "math", "types", "typing"}
    ours = {name for name in imported if name.startswith("lightning_tasks")}
    assert all(name.startswith(("lightning_tasks.by_hand", "lightning_tasks.initialisation")) for name in ours)
    assert len(files) == 6


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        (
            [Linear(784, 128), Linear(64, 10)],
            (784,),
            r"linear_2 .* behind linear_1: .*\(64,\), but gets \(128,\)",
        ),
        ([Linear(784, 10)], (1, 28, 28), r"linear_1 .* the input: .*\(784,\), but gets \(1, 28, 28\); put Flatten"),
        ([Conv2d(3, 4, 5)], (1, 28, 28), r"expects a sample of shape \(3, height, width\), but gets \(1, 28, 28\)"),
        ([MaxPool2d(), Flatten(), Linear(1, 2)], (1, 7, 7), r"\(channels, even height, even width\), but gets \(1, 7"),
        ([ReLU()], (4,), "at least one layer with weights"),
        ([Linear(4, 4)] * 2, (4,), "duplicate layer"),
    ],
)
def test_layers_that_do_not_fit(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        Network(layers, shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2d(1, 4, 4), "kernel_size must be odd"),
        (lambda: Linear(0, 4), "in_features must be at least 1, got 0"),
        (lambda: GradientDescent(0), "learning_rate must be above 0, got 0"),
        (lambda: Momentum(0.1, 1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: RMSProp(0.1, -0.1), r"decay must be in \[0, 1\)"),
        (lambda: L2Penalty(-1), "L2 must be at least 0"),
        (lambda: standard_deviation("lecun", 1, 1), "no initialisation 'lecun'; known are random, xavier, he"),
        (lambda: one_hot(np.array([1, 10]), 10, like=np.zeros(1)), r"labels must be in 0 \.\.\. 9, got 10"),
        (lambda: one_hot(torch.tensor([-1, 3]), 10, like=torch.zeros(1)), r"labels must be in 0 \.\.\. 9, got -1"),
    ],
)
def test_options_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_defaults_are_those_of_the_course():
    assert Momentum(0.1).momentum == 0.9
    assert RMSProp(0.1).decay == 0.9
