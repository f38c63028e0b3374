"""Backpropagation written by hand: every derivative, every update, and nothing that computes them for you.

Read the files in this order, and follow one number from a pixel to the update of a weight:

1. `layers.py`: what each layer computes, and how the derivative of the loss passes back through it.
2. `loss.py`: where that derivative comes from: softmax and cross-entropy, and the L2 penalty.
3. `network.py`: layers in a row; forward from left to right, backward from right to left (the chain rule).
4. `../initialisation.py`: what the weights are before the first step.
5. `rules.py`: how a derivative changes a weight: gradient descent, momentum, RMSProp.

This package imports neither PyTorch nor NumPy. It uses the functions of the Python array API standard
(https://data-apis.org/array-api/), which both have, so the arrays a network computes on may be either's.

One number on its way, from a pixel of 0.5 to the update of the first weight, in a network with one hidden unit:

>>> import numpy as np
>>> network = Network([Linear(1, 1), ReLU(), Linear(1, 2)], input_shape=(1,))
>>> first, relu, second = network.layers.values()
>>> first.weight, first.bias = np.array([[2.0]]), np.zeros(1)
>>> second.weight, second.bias = np.array([[np.log(3), 0.0]]), np.zeros(2)
>>> x, t = np.array([[0.5]]), np.array([[0.0, 1.0]])  # the pixel; the true class is the second
>>> z = network.forward(x)  # 0.5 * 2 = 1, which the ReLU lets pass; then 1 * log 3 and 1 * 0
>>> z.round(4)
array([[1.0986, 0.    ]])
>>> loss = SoftmaxCrossEntropy()  # probabilities 3/4 and 1/4: the wrong class is ahead
>>> float(loss.forward(z, t).round(4))  # -log 1/4
1.3863
>>> dz = loss.backward(z, t)  # p - t: the first probability is 3/4 too high, the second 3/4 too low
>>> dz.round(4)
array([[ 0.75, -0.75]])
>>> network.backward(dz)
>>> second.d_weight.round(4)  # what came in, 1, times dz
array([[ 0.75, -0.75]])
>>> first.d_weight.round(4)  # the pixel, 0.5, times what comes back to it: 0.75 log 3 - 0.75 * 0 = 0.824
array([[0.412]])
>>> GradientDescent(learning_rate=0.1).update(first.weight, first.d_weight)
>>> first.weight.round(4)  # 2 - 0.1 * 0.412
array([[1.9588]])

A smaller weight lowers the first score, so the true class gains. Training is nothing but this, often.

Shapes are named B (samples of a batch), D (features of one), C, H, W (channels, height and width of one), K (classes).
J is the loss, one number for the batch; `dy` stands for dJ/dy, the derivative of J by each element of y, and has the
shape of y.
"""

from lightning_tasks.by_hand.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from lightning_tasks.by_hand.loss import L2Penalty, SoftmaxCrossEntropy, one_hot
from lightning_tasks.by_hand.network import Network
from lightning_tasks.by_hand.rules import GradientDescent, Momentum, RMSProp, UpdateRule
from lightning_tasks.initialisation import Initialisation, standard_deviation

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
