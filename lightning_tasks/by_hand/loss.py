"""The loss, where every derivative starts: softmax with cross-entropy, and the L2 penalty."""

from typing import Any

from array_api_compat import array_namespace

Array = Any


class SoftmaxCrossEntropy:
    """Compares class scores with the true classes.

    Softmax turns the scores z (B, K) of a sample into probabilities, p_k = exp(z_k) / sum_j exp(z_j); cross-entropy is
    the mean negative logarithm of what the true classes get. With one-hot labels t (B, K)::

        J = -1/B sum_bk t_bk log p_bk    in nats

    Since log p_k = z_k - log sum_j exp(z_j), and sum_k t_k = 1, the derivative of both together is simple::

        dJ/dz_bk = (p_bk - t_bk) / B

    The largest score is subtracted first, which changes no probability, so that no exponential can overflow.
    """

    def forward(self, z: Array, t: Array) -> Array:
        """Compute J, a scalar array, from scores z (B, K) and one-hot labels t (B, K)."""
        xp = array_namespace(z)
        z = z - xp.max(z, axis=1, keepdims=True)
        log_p = z - xp.log(xp.sum(xp.exp(z), axis=1, keepdims=True))
        return -xp.sum(t * log_p) / z.shape[0]

    def backward(self, z: Array, t: Array) -> Array:
        """Compute dz (B, K) from the same scores and labels."""
        xp = array_namespace(z)
        e = xp.exp(z - xp.max(z, axis=1, keepdims=True))
        p = e / xp.sum(e, axis=1, keepdims=True)
        return (p - t) / z.shape[0]


class L2Penalty:
    """Draws weights towards zero: J grows by strength / 2 times the sum of their squares.

    Its derivative by a weight w is strength * w. Biases are left alone.

    Args:
        strength: Also called lambda or weight decay; 0 for none.
    """

    def __init__(self, strength: float) -> None:
        if strength < 0:
            raise ValueError(f"the strength of L2 must be at least 0, got {strength}")
        self.strength = strength

    def forward(self, weight: Array) -> Array:
        """Compute what a weight array adds to J, a scalar array."""
        return self.strength / 2 * array_namespace(weight).sum(weight * weight)

    def backward(self, weight: Array) -> Array:
        """Compute what is added to dJ/dW, in the shape of the weight array."""
        return self.strength * weight


def one_hot(labels: Array, num_classes: int, like: Array) -> Array:
    """Write class numbers as rows with a single 1.

    Args:
        labels: Shape (B,), integers.
        num_classes: K.
        like: An array of the type and device that the rows should have.

    Returns:
        Shape (B, K).

    Raises:
        ValueError: If a label is not in 0 ... K - 1.
    """
    xp = array_namespace(labels)
    wrong = (labels < 0) | (labels >= num_classes)
    if xp.any(wrong):  # the one number of a step that a GPU is waited for
        raise ValueError(f"labels must be in 0 ... {num_classes - 1}, got {labels[wrong][0]}")
    classes = xp.arange(num_classes, device=labels.device)
    return xp.astype(labels[:, None] == classes[None, :], like.dtype)
