"""A user's module of networks that know nothing of this project."""

NETS = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, width: int = 4, num_classes: int = 7, in_chans: int = 3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.bn1(self.conv1(x)).relu().mean((2, 3)))


def make(width=6, n_classes=5, **options):
    return Small(width, n_classes, in_chans=1)


def ten():
    return Small(3, 10, 1)


def broken(num_classes: int):
    raise RuntimeError("no such luck")


number = 3
"""
