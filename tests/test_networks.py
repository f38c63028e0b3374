import pytest
import torch
import torchvision

from lightning_tasks.networks import (
    MLP,
    ImageGenerator,
    ResNet,
    WideResNet,
    count_parameters,
    fold_batchnorm,
)

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
        (ResNet(100, CIFAR, depth=34), 21_328_292),  # figures of TARGETS' section 1.3, and published ones
        (ResNet(100, CIFAR, depth=18), 11_220_132),
        (WideResNet(100, CIFAR, depth=40, width=2), 2_255_156),
        (WideResNet(100, CIFAR, depth=16, width=1), 180_916),
        (MLP(10, (1, 28, 28), (128, 64)), 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10),
    ],
    ids=["resnet34", "resnet18", "wrn-40-2", "wrn-16-1", "mlp"],
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
        (lambda: ImageGenerator((3, 32, 16), 8), "got 32 x 16"),
        (lambda: ImageGenerator(CIFAR, 0), "latent_dim must be at least 1, got 0"),
        (lambda: ImageGenerator(CIFAR, 8, 0), "width must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
