"""Layers with their forward and backward passes written out.

A layer is a function y = f(x) of its input and, for some, of weights. Backwards it is given dy = dJ/dy, how the loss
changes with each of its outputs, and by the chain rule it finds

    dx = dJ/dx    which it hands to the layer before it, whose dy that is,
    dW = dJ/dW    which it keeps for the update of its own weights.

What `backward` needs of the forward pass, `forward` has kept in the layer.
"""

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Any

from array_api_compat import array_namespace

Array = Any  # of any library that follows the array API standard
Shape = tuple[int, ...]


class Layer:
    """A function with a derivative.

    Subclasses with weights name them in `weight_shapes`. Who uses the layer sets an array for each, as `layer.weight`
    for the one called "weight"; after `backward` its derivative is `layer.d_weight`.

    Attributes:
        weight_shapes: Shape of each weight array by name; none for a layer that only computes.
        fan_in: Number of inputs that one output sums over; 0 without weights.
        fan_out: Number of outputs that one input goes into; 0 without weights.
    """

    weight_shapes: Mapping[str, Shape] = MappingProxyType({})
    fan_in = 0
    fan_out = 0

    def output_shape(self, shape: Shape) -> Shape:
        """Say what shape one sample has behind the layer.

        Args:
            shape: Shape of one input sample, without the batch.

        Raises:
            ValueError: If the layer cannot take such a sample.
        """
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        """Compute y from x."""
        raise NotImplementedError

    def backward(self, dy: Array, wants_dx: bool = True) -> Array | None:
        """Compute dx from dy, and keep the derivatives of the weights.

        Args:
            dy: Derivative of the loss by the output of the last `forward`.
            wants_dx: False for the first layer with weights: nobody asks how the loss changes with the pixels.
        """
        raise NotImplementedError


class Linear(Layer):
    """Every output is a weighted sum of all inputs.

    y = x W + b, with x (B, D_in), W (D_in, D_out), b (D_out,), y (B, D_out).

    Element by element, y_bj = sum_i x_bi W_ij + b_j. W_ij meets x_bi on its way into y_bj, in every sample b, so::

        dJ/dW_ij = sum_b x_bi dy_bj    dW = x^T dy      (D_in, B) (B, D_out)
        dJ/db_j  = sum_b dy_bj         db = sum of dy over the batch
        dJ/dx_bi = sum_j dy_bj W_ij    dx = dy W^T      (B, D_out) (D_out, D_in)

    Args:
        in_features: D_in.
        out_features: D_out.
    """

    weight: Array
    bias: Array

    def __init__(self, in_features: int, out_features: int) -> None:
        _require_positive("Linear", in_features=in_features, out_features=out_features)
        self.weight_shapes = {"weight": (in_features, out_features), "bias": (out_features,)}
        self.fan_in = in_features
        self.fan_out = out_features

    def output_shape(self, shape: Shape) -> Shape:
        """Turn (D_in,) into (D_out,)."""
        if shape != (self.fan_in,):
            hint = "; put Flatten before it" if prod(shape) == self.fan_in else ""
            raise ValueError(f"expects a sample of shape {(self.fan_in,)}, but gets {shape}{hint}")
        return (self.fan_out,)

    def forward(self, x: Array) -> Array:
        """Map x (B, D_in) to y (B, D_out)."""
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, dy: Array, wants_dx: bool = True) -> Array | None:
        """Map dy (B, D_out) to dx (B, D_in); keep d_weight (D_in, D_out) and d_bias (D_out,)."""
        xp = array_namespace(dy)
        self.d_weight = self.x.T @ dy
        self.d_bias = xp.sum(dy, axis=0)
        return dy @ self.weight.T if wants_dx else None


class ReLU(Layer):
    """Lets positive numbers pass and stops the others.

    y = max(x, 0), any shape. Its derivative is 1 where x > 0 and 0 elsewhere, at x = 0 by convention::

        dx = dy where y > 0, else 0
    """

    def output_shape(self, shape: Shape) -> Shape:
        """Leave the shape as it is."""
        return shape

    def forward(self, x: Array) -> Array:
        """Map x to y of the same shape."""
        xp = array_namespace(x)
        self.y = xp.maximum(x, xp.zeros_like(x))
        return self.y

    def backward(self, dy: Array, wants_dx: bool = True) -> Array | None:
        """Map dy to dx of the same shape."""
        xp = array_namespace(dy)
        return dy * xp.astype(self.y > 0, dy.dtype) if wants_dx else None


class Flatten(Layer):
    """Writes the numbers of a sample in one row: (B, C, H, W) to (B, C H W), and the derivative back again."""

    def output_shape(self, shape: Shape) -> Shape:
        """Turn (C, H, W) into (C H W,)."""
        return (prod(shape),)

    def forward(self, x: Array) -> Array:
        """Map x (B, C, H, W) to y (B, C H W)."""
        self.shape = x.shape
        return array_namespace(x).reshape(x, (x.shape[0], prod(x.shape[1:])))

    def backward(self, dy: Array, wants_dx: bool = True) -> Array | None:
        """Map dy (B, C H W) to dx (B, C, H, W)."""
        return array_namespace(dy).reshape(dy, self.shape) if wants_dx else None


class Conv2d(Layer):
    """Slides kernels of k x k weights over an image; the output has the same height and width.

    The image is padded with p = (k - 1) / 2 zeros on each side. Output pixel (h, w) of channel o looks at the window
    of k x k input pixels around it, in all input channels::

        y_bohw = sum_cij W_ocij xpad_bc,h+i,w+j + b_o

    Written as a matrix product: put the C k k numbers of each window in a column, and the H W columns of an image side
    by side ("im2col"). Then Y = W X, with W (C_out, C_in k k), X (B, C_in k k, H W), Y (B, C_out, H W), and::

        dW = sum_b dY X^T              (C_out, H W) (H W, C_in k k)
        db = sum of dy over samples and pixels

    Input pixel (h, w) was pixel (i, j) of the window around (h + p - i, w + p - j), so it gets::

        dx_bchw = sum_oij W_ocij dypad_bo,h+2p-i,w+2p-j

    which is again a convolution: of dy, with the kernels turned by 180 degrees and the two channel axes exchanged.

    Args:
        in_channels: C_in.
        out_channels: C_out, the number of kernels.
        kernel_size: k, odd.
    """

    weight: Array
    bias: Array

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        _require_positive("Conv2d", in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"Conv2d: kernel_size must be odd for an output of the same size, got {kernel_size}")
        self.weight_shapes = {
            "weight": (out_channels, in_channels, kernel_size, kernel_size),
            "bias": (out_channels,),
        }
        self.fan_in = in_channels * kernel_size**2
        self.fan_out = out_channels * kernel_size**2
        self.columns: Array = None
        self.dy_columns: Array = None

    def output_shape(self, shape: Shape) -> Shape:
        """Turn (C_in, H, W) into (C_out, H, W)."""
        out_channels, in_channels, _, _ = self.weight_shapes["weight"]
        if len(shape) != 3 or shape[0] != in_channels:
            raise ValueError(f"expects a sample of shape ({in_channels}, height, width), but gets {shape}")
        return (out_channels, *shape[1:])

    def forward(self, x: Array) -> Array:
        """Map x (B, C_in, H, W) to y (B, C_out, H, W)."""
        self.columns = windows(x, self.weight.shape[-1], self.columns)
        return self._convolve(self.columns, self.weight, x.shape) + self.bias[:, None, None]

    def backward(self, dy: Array, wants_dx: bool = True) -> Array | None:
        """Map dy (B, C_out, H, W) to dx (B, C_in, H, W); keep d_weight like weight and d_bias (C_out,)."""
        xp = array_namespace(dy)
        batch, out_channels, height, width = dy.shape
        flat = xp.reshape(dy, (batch, out_channels, height * width))
        d_weight = xp.sum(flat @ self.columns.mT, axis=0)
        self.d_weight = xp.reshape(d_weight, self.weight.shape)
        self.d_bias = xp.sum(flat, axis=(0, 2))
        if not wants_dx:
            return None
        turned = xp.permute_dims(xp.flip(self.weight, axis=(2, 3)), (1, 0, 2, 3))
        self.dy_columns = windows(dy, self.weight.shape[-1], self.dy_columns)
        return self._convolve(self.dy_columns, turned, dy.shape)

    @staticmethod
    def _convolve(columns: Array, weight: Array, shape: Shape) -> Array:
        """Multiply kernels (C_out, C_in, k, k) with the columns of images (B, C_in, H, W)."""
        xp = array_namespace(columns)
        product = xp.reshape(weight, (weight.shape[0], -1)) @ columns
        return xp.reshape(product, (shape[0], weight.shape[0], *shape[2:]))


class MaxPool2d(Layer):
    """Keeps the largest of each square of 2 x 2 pixels.

    y_bchw = max of x_bc,2h+i,2w+j over i, j in {0, 1}; (B, C, H, W) to (B, C, H/2, W/2). Only the largest pixel has an
    influence on y, so::

        dx_bc,2h+i,2w+j = dy_bchw if (i, j) is the largest of its square, else 0

    Where several are largest (after a ReLU often all four are 0), the function has no derivative; dy then goes to the
    first of them, row by row, as in torch.nn.MaxPool2d.
    """

    def output_shape(self, shape: Shape) -> Shape:
        """Turn (C, H, W) into (C, H/2, W/2)."""
        if len(shape) != 3 or shape[1] % 2 or shape[2] % 2:
            raise ValueError(f"expects a sample of shape (channels, even height, even width), but gets {shape}")
        return (shape[0], shape[1] // 2, shape[2] // 2)

    def forward(self, x: Array) -> Array:
        """Map x (B, C, H, W) to y (B, C, H/2, W/2)."""
        xp = array_namespace(x)
        self.x = x
        a, b, c, d = quarters(x)
        self.y = xp.maximum(xp.maximum(a, b), xp.maximum(c, d))
        return self.y

    def backward(self, dy: Array, wants_dx: bool = True) -> Array | None:
        """Map dy (B, C, H/2, W/2) to dx (B, C, H, W)."""
        if not wants_dx:
            return None
        xp = array_namespace(dy)
        dx = xp.empty_like(self.x)
        unclaimed = dy  # what no earlier pixel of the square has got
        for pixel, derivative in zip(quarters(self.x), quarters(dx), strict=True):
            claimed = unclaimed * xp.astype(pixel == self.y, dy.dtype)
            derivative[...] = claimed
            unclaimed = unclaimed - claimed
        return dx


def windows(x: Array, size: int, memory: Array | None = None) -> Array:
    """Put the window around each pixel in a column, with zeros beyond the border.

    Each of the size x size shifts of the padded images is a view of them; each is copied as a whole.

    Args:
        x: Images (B, C, H, W).
        size: Height and width of a window, odd.
        memory: Result of an earlier call, to be overwritten if it has the right shape: to ask the system for megabytes
            at each step costs more than to fill them.

    Returns:
        Columns (B, C size size, H W).
    """
    xp = array_namespace(x)
    batch, channels, height, width = x.shape
    padding = size // 2
    padded = xp.zeros((batch, channels, height + 2 * padding, width + 2 * padding), dtype=x.dtype, device=x.device)
    padded[:, :, padding : padding + height, padding : padding + width] = x
    shape = (batch, channels * size**2, height * width)
    if memory is None or (memory.shape, memory.dtype, memory.device) != (shape, x.dtype, x.device):
        memory = xp.empty(shape, dtype=x.dtype, device=x.device)
    shifts = xp.reshape(memory, (batch, channels, size, size, height, width))  # a view
    for i in range(size):
        for j in range(size):
            shifts[:, :, i, j] = padded[:, :, i : i + height, j : j + width]
    return memory


def quarters(x: Array) -> tuple[Array, Array, Array, Array]:
    """View images (B, C, H, W) as the four pixels of each square of 2 x 2, row by row: four (B, C, H/2, W/2)."""
    return x[:, :, ::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2]


def _require_positive(layer: str, **sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{layer}: {name} must be at least 1, got {value}")
