"""Rules that turn a derivative into a step. They change the arrays in place.

w is a weight, g = dJ/dw its derivative, r the learning rate.
"""

from typing import Any, ClassVar

from array_api_compat import array_namespace

Array = Any


class UpdateRule:
    """How a weight follows its derivative.

    Args:
        learning_rate: r, above 0.

    Attributes:
        states: Names of the arrays that the rule remembers for each weight, of its shape, zero before the first step.
    """

    states: ClassVar[tuple[str, ...]] = ()

    def __init__(self, learning_rate: float) -> None:
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
        self.learning_rate = learning_rate

    def update(self, w: Array, g: Array, *states: Array, scale: float = 1.0) -> None:
        """Take one step.

        Args:
            w: Weights; changed.
            g: Their derivatives, same shape; its memory may be used for the result of the step.
            *states: What the rule remembers of this weight; changed.
            scale: Factor on the learning rate, of its schedule.
        """
        raise NotImplementedError


class GradientDescent(UpdateRule):
    """Steps down the slope: w <- w - r g.

    Args:
        learning_rate: r, above 0.
    """

    def update(self, w: Array, g: Array, *states: Array, scale: float = 1.0) -> None:
        """Take one step."""
        g *= self.learning_rate * scale
        w -= g


class Momentum(UpdateRule):
    """Keeps a velocity, which adds up slopes that agree and cancels those that do not (Polyak 1964).

    v <- m v + g
    w <- w - r v

    Args:
        learning_rate: r, above 0.
        momentum: m, in [0, 1).
    """

    states = ("velocity",)

    def __init__(self, learning_rate: float, momentum: float = 0.9) -> None:
        super().__init__(learning_rate)
        _require_share("momentum", momentum)
        self.momentum = momentum

    def update(self, w: Array, g: Array, *states: Array, scale: float = 1.0) -> None:
        """Take one step."""
        (v,) = states
        v *= self.momentum
        v += g
        w -= self.learning_rate * scale * v


class RMSProp(UpdateRule):
    """Divides each slope by its own recent size, so that all weights take steps of about r.

    s <- d s + (1 - d) g^2
    w <- w - r g / (sqrt(s) + e)    with e = 1e-8

    Tieleman and Hinton 2012, "Lecture 6.5: rmsprop", Coursera.

    Args:
        learning_rate: r, above 0.
        decay: d, how much of the former mean square is kept, in [0, 1).
    """

    states = ("mean_square",)
    epsilon = 1e-8

    def __init__(self, learning_rate: float, decay: float = 0.9) -> None:
        super().__init__(learning_rate)
        _require_share("decay", decay)
        self.decay = decay

    def update(self, w: Array, g: Array, *states: Array, scale: float = 1.0) -> None:
        """Take one step."""
        (s,) = states
        s *= self.decay
        s += (1 - self.decay) * (g * g)
        g /= array_namespace(s).sqrt(s) + self.epsilon
        g *= self.learning_rate * scale
        w -= g


def _require_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
