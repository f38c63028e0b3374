"""Backpropagation written by hand: every derivative, every update, and nothing that computes them for you.

Read the files in this order, and follow one number from a pixel to the update of a weight:

1. `layers.py`: what each layer computes, and how the derivative of the loss passes back through it.
2. `loss.py`: where that derivative comes from: softmax and cross-entropy, and the L2 penalty.
3. `network.py`: layers in a row; forward from left to right, backward from right to left (the chain rule).
4. `initialisation.py`: what the weights are before the first step.
5. `rules.py`: how a derivative changes a weight: gradient descent, momentum, RMSProp.

The room knows neither PyTorch nor NumPy. It uses the functions of the Python array API standard
(https://data-apis.org/array-api/), which both have, so the arrays a network computes on may be either's.

Shapes are named B (samples of a batch), D (features of one), C, H, W (channels, height and width of one), K (classes).
J is the loss, one number for the batch; `dy` stands for dJ/dy, the derivative of J by each element of y, and has the
shape of y.
"""

from lightning_tasks.by_hand.initialisation import Initialisation, standard_deviation
from lightning_tasks.by_hand.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from lightning_tasks.by_hand.loss import L2Penalty, SoftmaxCrossEntropy, one_hot
from lightning_tasks.by_hand.network import Network
from lightning_tasks.by_hand.rules import GradientDescent, Momentum, RMSProp, UpdateRule

__all__ = [
    "Conv2d",
    "Flatten",
    "GradientDescent",
    "Initialisation",
    "L2Penalty",
    "Layer",
    "Linear",
    "MaxPool2d",
    "Momentum",
    "Network",
    "RMSProp",
    "ReLU",
    "SoftmaxCrossEntropy",
    "UpdateRule",
    "one_hot",
    "standard_deviation",
]
