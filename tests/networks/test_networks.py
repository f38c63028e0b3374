"""Networks of the project: shapes, parameters, initialisation, folding."""

import pytest
import torch
import torchvision
from torch.nn import functional as F

from lightning_tasks.data_free.generator import ImageGenerator
from lightning_tasks.networks import (
    CNN,
    MLP,
    LeNet5,
    ResNet,
    StridedCNN,
    WideResNet,
    count_multiply_adds,
    count_parameters,
    fold_batchnorm,
    initialise,
)
from lightning_tasks.networks.pooling import AveragePool2d
from lightning_tasks.networks.resnet import BasicBlock

CIFAR = (3, 32, 32)


def test_resnet_has_torchvisions_parameters_with_its_stem():
    for depth, theirs in ((18, torchvision.models.resnet18), (34, torchvision.models.resnet34)):
        ours = ResNet(100, CIFAR, depth=depth, stem="imagenet")
        assert count_parameters(ours) == count_parameters(theirs(num_classes=100))


def test_resnet_equals_torchvisions_with_its_weights():
    ours = ResNet(7, (3, 64, 64), depth=18, stem="imagenet").eval()
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    for a, b in zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True):
        a.copy_(b)
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (ResNet(100, CIFAR, depth=34), 21_328_292),  # published figures, as those below
        (ResNet(100, CIFAR, depth=18), 11_220_132),
        (WideResNet(100, CIFAR, depth=40, width=2), 2_255_156),
        (WideResNet(100, CIFAR, depth=16, width=1), 180_916),
        (ResNet(100, CIFAR, depth=20, width=16), 278_324),  # He et al.'s CIFAR networks, with 1 x 1 shortcuts
        (ResNet(100, CIFAR, depth=56, width=16), 861_620),
        (
            CNN(10, (1, 28, 28), ((4, 6),), (5,)),
            (9 * 4 + 8) + (9 * 4 * 6 + 12) + (6 * 14 * 14 * 5 + 10) + (5 * 10 + 10),
        ),
        (CNN(10, (1, 28, 28), ((4,),), (), average=True, batch_normalisation=False), (9 * 4 + 4) + (4 * 10 + 10)),
        (
            StridedCNN(10, (3, 8, 8), (4, 6), (1, 2), 2, 5),
            (27 * 4 + 8) + (9 * 4 * 6 + 12) + (6 * 2 * 2 * 5 + 10) + (5 * 10 + 10),
        ),
        (LeNet5(10, (1, 32, 32)), 61_706),  # published
        (LeNet5(10, (3, 32, 32), 0.5), (75 * 3 + 3) + (75 * 8 + 8) + (200 * 60 + 60) + (60 * 42 + 42) + (42 * 10 + 10)),
        (MLP(10, (1, 2, 2), (3,), normalisation="layer"), 4 * 3 + 6 + 3 * 10 + 10),
        (MLP(10, (1, 28, 28), (128, 64)), 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10),
    ],
)
def test_parameter_counts(network, parameters):
    assert count_parameters(network) == parameters
    assert network(torch.randn(2, *network.image_shape)).shape == (2, network.num_classes)


@pytest.mark.parametrize(("width", "share"), [(28, 0.1), (40, 0.2)])
def test_students_have_their_share_of_the_teacher(width, share):
    teacher = count_parameters(ResNet(100, CIFAR, depth=34))
    assert count_parameters(ResNet(100, CIFAR, depth=18, width=width)) / teacher == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_generator_makes_normalised_images(side, channels):
    generator = ImageGenerator((channels, side, side), latent_dim=10, width=8)
    doublings = sum(isinstance(module, torch.nn.Upsample) for module in generator.modules())
    assert doublings == {16: 2, 32: 2, 64: 3}[side]
    x = generator(torch.randn(32, 10))
    assert x.shape == (32, channels, side, side)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(channels), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(channels), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    "make", [lambda: ResNet(10, CIFAR, depth=34, width=8), lambda: WideResNet(10, CIFAR, depth=16, width=1)]
)
def test_folding_keeps_the_function_and_its_gradient(make):
    torch.manual_seed(0)
    network = make()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(16, *CIFAR))  # statistics that are not 0 and 1
    network.eval()
    folded = fold_batchnorm(network)
    x = torch.randn(2, *CIFAR, requires_grad=True)
    gradients = [torch.autograd.grad(net(x).square().sum(), x)[0] for net in (network, folded)]
    torch.testing.assert_close(folded(x), network(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-3 * gradients[0].abs().max().item(), rtol=0)
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) for net in (network, folded)]
    assert norms[1] < norms[0]
    assert not any(p.requires_grad for p in folded.parameters())
    assert not any(m.training for m in folded.modules())
    assert any(p.requires_grad for p in network.parameters())


def test_folding_refuses_training_mode():
    with pytest.raises(ValueError, match="eval mode"):
        fold_batchnorm(ResNet(10, CIFAR, depth=10, width=4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(1, CIFAR), "num_classes must be at least 2"),
        (lambda: ResNet(10, (3, 4, 4)), "at least 8 x 8 pixels, got 4 x 4"),
        (lambda: ResNet(10, (3, 28, 28), stem="imagenet"), "at least 32 x 32"),
        (lambda: ResNet(10, CIFAR, depth=50), "depth must be one of"),
        (lambda: ResNet(10, (0, 32, 32)), "image_shape must be"),
        (lambda: WideResNet(10, CIFAR, depth=18), "6 n \\+ 4"),
        (lambda: WideResNet(10, (3, 2, 2)), "at least 4 x 4"),
        (lambda: MLP(10, CIFAR, (0,)), "hidden_sizes"),
        (lambda: MLP(10, CIFAR, dropout=1), r"^dropout must be in \[0, 1\), got 1"),
        (lambda: MLP(10, CIFAR, input_dropout=-0.1), r"input_dropout must be in \[0, 1\)"),
        (lambda: MLP(10, CIFAR, activation="sigmoid"), "no activation 'sigmoid'; known are relu, leaky_relu"),
        (lambda: CNN(10, CIFAR, ((4,), ())), "stages needs one or more"),
        (lambda: CNN(10, CIFAR, (), ()), "stages needs one or more"),
        (lambda: CNN(10, CIFAR, hidden_sizes=(8, 0)), "hidden_sizes must be at least 1"),
        (lambda: CNN(10, (1, 7, 9), ((4,),) * 3), "at least 8 x 8 pixels, got 7 x 9"),
        (lambda: CNN(10, CIFAR, dropout=1.0), "dropout must be"),
        (lambda: ResNet(10, CIFAR, dropout=1.0), "dropout must be"),
        (lambda: ResNet(10, CIFAR, enlarge=0), "enlarge must be at least 1, got 0"),
        (lambda: initialise(MLP(10, CIFAR), "zeros"), "no initialisation 'zeros'"),
        (lambda: ImageGenerator((3, 32, 7), 8), "at least 8 x 8 pixels, got 32 x 7"),
        (lambda: ImageGenerator(CIFAR, 0), "latent_dim must be at least 1, got 0"),
        (lambda: ImageGenerator(CIFAR, 8, 0), "width must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mlp_by_hand():
    """One hidden unit of two is stopped by the ReLU, and the other is the sum of the pixels."""
    network = MLP(2, (1, 1, 3), (2,))
    with torch.no_grad():
        network.layers[1].weight.copy_(torch.tensor([[1.0, 1, 1], [-1, -1, -1]]))
        network.layers[1].bias.zero_()
        network.layers[3].weight.copy_(torch.tensor([[2.0, 100], [3, 100]]))
        network.layers[3].bias.copy_(torch.tensor([0.5, 0]))
    assert network(torch.tensor([[[[1.0, 2, 4]]]])).tolist() == [[14.5, 21]]


def kinds(network):
    return [type(part).__name__ for part in network.parts()]


def test_layers_of_an_mlp_and_a_cnn_come_in_order():
    mlp = MLP(10, CIFAR, (5, 4), activation="tanh", normalisation="batch", dropout=0.2, input_dropout=0.1)
    hidden = ["Linear", "BatchNorm1d", "Tanh", "Dropout"]
    assert kinds(mlp) == ["Flatten", "Dropout", *hidden, *hidden, "Linear"]
    assert [each.p for each in mlp.modules() if isinstance(each, torch.nn.Dropout)] == [0.1, 0.2, 0.2]
    cnn = CNN(10, (3, 16, 8), ((4, 5), (6,)), (7,), activation="gelu", dropout=0.3)
    convolution, end = ["Conv2d", "BatchNorm2d", "GELU"], ["MaxPool2d", "Dropout"]
    head = ["Flatten", "Linear", "BatchNorm1d", "GELU", "Dropout", "Linear"]
    assert kinds(cnn) == [*convolution, *convolution, *end, *convolution, *end, *head]
    assert cnn.head[1].in_features == 6 * 4 * 2
    assert {each.p for each in cnn.modules() if isinstance(each, torch.nn.Dropout)} == {0.3}


@pytest.mark.parametrize(
    "network",
    [
        ResNet(10, CIFAR, depth=20, width=4, dropout=0.5),
        ResNet(10, CIFAR, depth=10, width=4, stem="imagenet", enlarge=2),
        MLP(10, CIFAR, (4,), normalisation="layer"),
        CNN(10, CIFAR, ((4,), (4,)), average=True),
        WideResNet(10, CIFAR, depth=10, width=1),
    ],
    ids=lambda network: type(network).__name__,
)
def test_parts_one_after_the_other_are_the_network(network):
    network.eval()
    x = y = torch.randn(2, *CIFAR)
    for part in network.parts():
        y = part(y)
    assert torch.equal(y, network(x))


@pytest.mark.parametrize(("channels", "stride"), [(2, 1), (3, 1), (2, 2), (3, 2)])
def test_shortcut_of_a_block_fits_its_shape(channels, stride):
    block = BasicBlock(2, channels, stride)
    assert block(torch.rand(2, 2, 6, 4)).shape == (2, channels, 6 // stride, 4 // stride)
    assert len(block.downsample) == (0 if (channels, stride) == (2, 1) else 2)


@pytest.mark.parametrize("width", [2, 5])  # fewer channels than a block of oneDNN's, which wrote beyond its memory
def test_the_shortcut_is_a_strided_convolution(width):
    block = BasicBlock(width, 2 * width, 2).to(memory_format=torch.channels_last)
    x = torch.randn(8, width, 16, 16).contiguous(memory_format=torch.channels_last)
    for _ in range(20):
        block(x).sum().backward()
    block.eval()
    shortcut = block.downsample[1](F.conv2d(x, block.downsample[0].weight, stride=2))
    expected = F.relu(block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x))))) + shortcut)
    torch.testing.assert_close(block(x), expected)


def test_dropout_follows_each_relu_of_a_block():
    """Both convolutions of a block of one channel are the identity, and dropout 0.5 doubles what it keeps."""
    block = BasicBlock(1, 1, 1, dropout=0.5)
    with torch.no_grad():
        for each in (block.conv1, block.conv2):
            each.weight.copy_(torch.eye(9)[4].view(1, 1, 3, 3))
    block.bn1.eval(), block.bn2.eval()
    x = torch.ones(1, 1, 100, 100)
    values = {round(value) for value in block(x).flatten().tolist()}
    assert values == {0, 2, 6}  # 2 * (0 + 1) and 2 * (2 + 1)
    assert block.eval()(x).allclose(torch.tensor(2.0), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "linear", "convolution"),
    [
        ("random", 0.01, 0.01),
        ("xavier", (2 / 1100) ** 0.5, (2 / 1350) ** 0.5),
        ("he", (2 / 1000) ** 0.5, (2 / 900) ** 0.5),
    ],
)
def test_initialisation(name, linear, convolution):
    layers = torch.nn.Sequential(torch.nn.Linear(1000, 100), torch.nn.Conv2d(100, 50, 3), torch.nn.BatchNorm2d(50))
    initialise(layers, name)
    assert layers[0].weight.std().item() == pytest.approx(linear, rel=0.03)
    assert layers[1].weight.std().item() == pytest.approx(convolution, rel=0.03)
    assert layers[0].weight.mean().abs() < 0.1 * linear
    assert not layers[0].bias.any()
    assert not layers[1].bias.any()
    assert (layers[2].weight == 1).all()


def test_multiply_adds_by_hand():
    network = CNN(10, (3, 8, 6), ((4,),), (5,)).eval()
    count, logits = count_multiply_adds(network, torch.zeros(1, 3, 8, 6))
    assert count == 8 * 6 * 9 * 3 * 4 + (4 * 4 * 3) * 5 + 5 * 10
    assert logits.shape == (1, 10)


class TestStridedCNN:
    def test_the_rows_networks(self):
        """Twelve convolutions, 12 filters in the first, and three; one average pooling and a layer of 1024 each."""
        for network, count in (
            (StridedCNN(40, (3, 64, 64)), 12),
            (StridedCNN(40, (3, 64, 64), (32, 64, 128), (2, 2, 2), 2), 3),
        ):
            kinds = [type(each) for each in network.parts()]
            assert kinds.count(torch.nn.Conv2d) == count
            assert kinds.count(AveragePool2d) == 1
            assert [each.out_features for each in network.parts() if isinstance(each, torch.nn.Linear)] == [1024, 40]
        assert StridedCNN(40, (3, 64, 64)).convolutions[0].out_channels == 12

    def test_strides_halve_the_image(self):
        network = StridedCNN(2, (1, 16, 24), (3, 4, 5), (1, 2, 2))
        assert network.convolutions(torch.zeros(2, 1, 16, 24)).shape == (2, 5, 4, 6)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"channels": ()}, "channels needs one or more"),
            ({"channels": (4, 0), "strides": (1, 1)}, "each at least 1"),
            ({"channels": (4, 4), "strides": (1,)}, "strides as many"),
            ({"channels": (4,), "strides": (3,)}, "each 1 or 2"),
            ({"channels": (4,), "strides": (1,), "hidden_size": 0}, "pooled_size and hidden_size"),
            ({"channels": (4,), "strides": (1,), "dropout": 1.0}, "dropout must be in"),
            ({"channels": (4, 4, 4), "strides": (2, 2, 2), "pooled_size": 3}, "at least 24 x 24 pixels"),
        ],
    )
    def test_bad_options(self, options, said):
        with pytest.raises(ValueError, match=said):
            StridedCNN(2, (1, 16, 16), **options)
