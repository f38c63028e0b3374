"""What weights are before the first step: random, or all units of a layer would stay equal. Biases start at zero."""

from math import sqrt
from typing import Literal, get_args

Initialisation = Literal["random", "xavier", "he"]

RANDOM = 0.01


def standard_deviation(initialisation: Initialisation, fan_in: int, fan_out: int) -> float:
    """Give the standard deviation of the normal distribution that a layer's weights are drawn from.

    - random: 0.01 whatever the layer, so signals shrink from layer to layer.
    - xavier: sqrt(2 / (fan_in + fan_out)), which keeps the variance of signals and of derivatives where units are
      linear (Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq.
      12, there for variances).
    - he: sqrt(2 / fan_in), which keeps the variance of signals where a ReLU stops half of it (He et al. 2015, "Delving
      deep into rectifiers", eq. 10).

    Args:
        initialisation: One of the three.
        fan_in: Number of inputs that an output sums over.
        fan_out: Number of outputs that an input goes into.

    Raises:
        ValueError: If there is no such initialisation.
    """
    if initialisation == "random":
        return RANDOM
    if initialisation == "xavier":
        return sqrt(2 / (fan_in + fan_out))
    if initialisation == "he":
        return sqrt(2 / fan_in)
    raise ValueError(f"no initialisation {initialisation!r}; known are {', '.join(get_args(Initialisation))}")
