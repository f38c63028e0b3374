"""A network that starts as an approximation of a wider one, layer by layer."""

import operator

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_tasks.networks.eval_mode import eval_mode
from lightning_tasks.networks.folding import Tracer

RIDGE = 1e-3  # of the mean variance of a layer's inputs
CHUNK = 64  # images whose patches are laid out at a time
ADDITIONS = (operator.add, operator.iadd, torch.add)

Layer = nn.Conv2d | nn.Linear
Nodes = dict[fx.Node, fx.Node]


def reconstruct(small: nn.Module, large: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Fit each layer of a network to the same layer of a wider one by least squares, from the first to the last.

    Layer-wise reconstruction of He et al. 2017, "Channel pruning for accelerating very deep neural networks",
    https://arxiv.org/abs/1707.06168, sections 3.1 and 3.3: a layer's input is what the fitted layers before it give,
    and where two branches are added, the later one makes up for the error of the other. The channels kept are those
    from which all can best be predicted (greedily: Farahat et al. 2011, "An efficient greedy method for unsupervised
    feature selection"), the same ones wherever outputs are added. A BatchNorm behind a fitted layer gets the statistics
    of `images`, with the scale and shift that undo them.

    Args:
        small: Network whose weights and BatchNorm statistics are replaced: `large`, but narrower.
        large: Network that is approximated.
        images: What both networks see. Shape (N, C, H, W).

    Returns:
        For each module of `small`, by name, the channels of `large` that its outputs stand for: indices (C,).

    Raises:
        ValueError: If the networks differ in more than their widths, torch.fx cannot trace them, or they have layers
            other than convolutions without groups, linear layers and BatchNorm.
    """
    nodes = require_narrower(small, large)
    with eval_mode(small), eval_mode(large):
        fitted = _fitted(nodes, large)
        groups = _groups(nodes, fitted)
        kept = _choose(nodes, fitted, groups, small, large, images)
        layers = set(fitted.values())
        ours, theirs = _Run(small, nodes, images), _Run(large, nodes, images)
        for node in nodes:
            theirs.step(node)
            if node in fitted:
                layer, target = fitted[node], theirs.values[node][:, kept[groups[node]]]
                if (other := _added_to(node)) in ours.values:
                    target += theirs.values[other][:, kept[groups[node]]] - ours.values[other]
                norm = None if layer is node else _norm(node, small)
                _fit(_layer(layer, small), norm, ours.values[layer.all_input_nodes[0]], target)
                if layer is not node:
                    ours.step(layer)
            elif node in layers:
                continue  # fitted at the BatchNorm that follows
            elif isinstance(_module(node, large), _BatchNorm):
                _copy_norm(_norm(node, small), _norm(node, large), kept[groups[node]])
            ours.step(node)
    names = ((name.partition("@")[0], groups[node]) for node in nodes for name in node.meta.get("nn_module_stack", ()))
    return {name: kept[group] for name, group in names if group in kept}


def predictive_channels(covariance: Tensor, count: int) -> Tensor:
    """Choose channels from which all can be predicted linearly, each the best one given those before it.

    Args:
        covariance: Covariance of all channels (D, D).
        count: How many to choose.

    Returns:
        Their indices, ascending (count,).
    """
    left = covariance.double().clone()
    chosen: list[int] = []
    for _ in range(count):
        explained = left.square().sum(dim=0) / left.diagonal().clamp(min=1e-12)
        explained[chosen] = -1
        chosen.append(best := int(explained.argmax()))
        left -= torch.outer(left[:, best], left[best]) / left[best, best].clamp(min=1e-12)
    return torch.tensor(sorted(chosen), device=covariance.device)


class _Run:
    """A network's values on images, node by node; those that no later node needs are freed."""

    def __init__(self, network: nn.Module, nodes: list[fx.Node], images: Tensor) -> None:
        self._interpreter = fx.Interpreter(network, garbage_collect_values=False, graph=nodes[0].graph)
        self._interpreter.args_iter = iter((images,))
        self._done: set[fx.Node] = set()
        self.values = self._interpreter.env

    def step(self, node: fx.Node) -> None:
        self.values[node] = self._interpreter.run_node(node)
        self._done.add(node)
        for each in node.all_input_nodes:
            if self._done.issuperset(each.users):
                del self.values[each]


# The graph


def require_narrower(small: nn.Module, large: nn.Module) -> list[fx.Node]:
    """Give the steps of both networks.

    Raises:
        ValueError: If they cannot be reconstructed, see there.
    """
    try:
        ours, theirs = (_used_steps(network) for network in (small, large))
    except Exception as error:  # whatever the network's own code raises when it is given torch.fx's proxies
        raise ValueError(f"torch.fx cannot trace the network: {error}") from None
    if [(each.op, each.target) for each in ours] != [(each.op, each.target) for each in theirs]:
        raise ValueError("the networks differ in more than their widths")
    for node in theirs:
        module, narrower = _module(node, large), _module(node, small)
        has_weights = node.op == "get_attr" or (module is not None and any(True for _ in module.parameters()))
        if has_weights and not (isinstance(module, nn.Linear | _BatchNorm) or _is_plain(module)):
            raise ValueError(f"{node.target}: not a convolution without groups, a linear layer or BatchNorm")
        if isinstance(module, Layer) and isinstance(narrower, Layer):
            shapes = [tuple(each.weight.shape) for each in (narrower, module)]
            if len(shapes[0]) != len(shapes[1]) or any(a > b for a, b in zip(*shapes, strict=True)):
                raise ValueError(f"{node.target} of shape {shapes[0]} cannot be a part of {shapes[1]}")
        if len(node.all_input_nodes) > 1 and node.target not in ADDITIONS:
            raise ValueError(f"{node.name}: values can only be added")
    return theirs


def _used_steps(network: nn.Module) -> list[fx.Node]:
    graph = Tracer().trace(network)
    for node in reversed(graph.nodes):
        if node.op not in ("placeholder", "output") and not node.users:
            graph.erase_node(node)
    return list(graph.nodes)


def _is_plain(module: nn.Module | None) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _fitted(nodes: list[fx.Node], network: nn.Module) -> Nodes:
    """Map each output that is approximated, a BatchNorm's if one follows, to the layer that is fitted to it."""
    fitted = {}
    for node in nodes:
        if isinstance(_module(node, network), Layer):
            user, *more = node.users
            norm = _module(user, network)
            follows = isinstance(norm, _BatchNorm) and norm.affine and norm.track_running_stats and not more
            fitted[user if follows else node] = node
    return fitted


def _groups(nodes: list[fx.Node], fitted: Nodes) -> Nodes:
    """Map each node to one that stands for all that keep the same channels."""
    layers = set(fitted.values())
    groups: Nodes = {}
    for node in nodes:
        if node in layers or not node.all_input_nodes:
            groups[node] = node
            continue
        first, *others = (groups[each] for each in node.all_input_nodes)
        groups = {each: first if group in others else group for each, group in groups.items()} | {node: first}
    return groups


def _added_to(node: fx.Node) -> fx.Node | None:
    """Give the node to whose value this one's is added, if nothing else becomes of it."""
    user, *more = node.users
    others = [each for each in user.all_input_nodes if each is not node]
    return others[0] if others and not more else None


def _module(node: fx.Node, network: nn.Module) -> nn.Module | None:
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _layer(node: fx.Node, network: nn.Module) -> Layer:
    module = _module(node, network)
    assert isinstance(module, Layer)
    return module


def _norm(node: fx.Node, network: nn.Module) -> _BatchNorm:
    module = _module(node, network)
    assert isinstance(module, _BatchNorm)
    return module


# The weights


def _choose(
    nodes: list[fx.Node], fitted: Nodes, groups: Nodes, small: nn.Module, large: nn.Module, images: Tensor
) -> dict[fx.Node, Tensor]:
    """Choose the channels of each group by the covariances of what its layers take; indices (C,)."""
    layers = set(fitted.values())
    sizes = {groups[node]: [len(_layer(node, network).weight) for network in (small, large)] for node in layers}
    covariances = {group: torch.zeros((of, of), device=images.device) for group, (_, of) in sizes.items()}
    run = _Run(large, nodes, images)
    for node in nodes:
        if node in layers:
            source = node.all_input_nodes[0]
            x, group = run.values[source], groups[source]
            if group in sizes and x.shape[1] == sizes[group][1]:  # not the images, nor flattened maps
                covariance = torch.cov(x.transpose(0, 1).flatten(1).float())
                covariances[group] += covariance / covariance.trace().clamp(min=1e-12)
        run.step(node)
    return {
        group: predictive_channels(covariances[group], size) if size < of else torch.arange(of, device=images.device)
        for group, (size, of) in sizes.items()
    }


def _fit(layer: Layer, norm: _BatchNorm | None, x: Tensor, target: Tensor) -> None:
    """Give a layer, and a BatchNorm behind it, the weights that bring their output nearest to a target (N, C, ...)."""
    weight, intercept = _least_squares(layer, x, target, centred=norm is not None or layer.bias is not None)
    layer.weight.copy_(weight.T.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(intercept)
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        out = layer(x).transpose(0, 1).flatten(1).float()
        norm.running_mean.copy_(out.mean(dim=1))
        norm.running_var.copy_(out.var(dim=1, correction=0))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean if layer.bias is not None else norm.running_mean + intercept)


def _least_squares(layer: Layer, x: Tensor, target: Tensor, centred: bool) -> tuple[Tensor, Tensor]:
    """Solve for weights (K, C) from what a position takes to what it gives, and, if centred, an intercept (C,)."""
    products = torch.zeros((), dtype=torch.float64, device=x.device)
    for part, wanted in zip(x.float().split(CHUNK), target.float().split(CHUNK), strict=True):
        inputs = part
        if isinstance(layer, nn.Conv2d):
            assert not isinstance(layer.padding, str)
            patches = F.unfold(part, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            inputs, wanted = (each.flatten(2).transpose(1, 2).flatten(0, 1) for each in (patches, wanted))
        rows = torch.cat([inputs, wanted, torch.ones_like(inputs[:, :1])], dim=1)
        products = products + (rows.T @ rows).double()
    products = products / products[-1, -1]
    mean, count = products[-1, :-1] * centred, len(products) - target.shape[1] - 1
    covariance = products[:-1, :-1] - torch.outer(mean, mean)
    ridge = RIDGE * covariance.diagonal()[:count].mean() * torch.eye(count, dtype=mean.dtype, device=mean.device)
    weight = torch.linalg.solve(covariance[:count, :count] + ridge, covariance[:count, count:])
    return weight, mean[count:] - mean[:count] @ weight


def _copy_norm(small: _BatchNorm, large: _BatchNorm, kept: Tensor) -> None:
    """Give a BatchNorm that follows no fitted layer what the other has for these channels."""
    theirs = large.state_dict()
    for name, value in small.state_dict().items():
        value.copy_(theirs[name][kept] if value.ndim else theirs[name])
