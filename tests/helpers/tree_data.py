"""Eight images whose pixels are what three heads say of them."""

import torch
from torch import nn

from datamodules import ImageDataModule
from datamodules.tensors import TensorImages
from lightning_tasks.networks import ImageNetwork

# Superclasses in alphabetical order: bird, cat, dog; the group "pets" is named before "wild", which has the bird.
GROUPS = {"pets": ["dog", "cat"], "wild": ["bird"]}
SUPERCLASSES = ["dog", "bird", "cat", "dog", "bird", "bird"]  # of six classes

# Of seven classes the superclass and the group, and of each superclass the group.
SUPER = ["insect", "tree", "insect", "tree", "flower", "shell", "cat"]
GROUP = ["small", "plant", "small", "plant", "plant", "small", "beast"]
ABOVE = ["beast", "plant", "small", "small", "plant"]  # group of each superclass

# Label; percent of six classes, three superclasses (bird, cat, dog) and two groups (pets, wild). The classes that are
# answered by argmax, respecting the tree and of least severity stand beside them.
IMAGES = [
    (0, [60, 10, 10, 10, 5, 5], [10, 20, 70], [80, 20]),  # 0 0 0
    (3, [15, 35, 20, 18, 6, 6], [50, 20, 30], [30, 70]),  # 1 3 3
    (4, [5, 40, 5, 5, 35, 10], [80, 10, 10], [55, 45]),  # 1 1 1
    (2, [50, 10, 30, 5, 3, 2], [10, 50, 40], [90, 10]),  # 0 0 0
    (1, [10, 20, 10, 10, 20, 30], [60, 20, 20], [20, 80]),  # 5 5 5
    (1, [30, 28, 5, 5, 16, 16], [20, 30, 50], [60, 40]),  # 0 1 1
    (2, [5, 5, 80, 5, 3, 2], [10, 70, 20], [70, 30]),  # 2 2 2
    (2, [12, 48, 28, 12, 0, 0], [40, 35, 25], [45, 55]),  # 1 2 1
]


class TreeData(ImageDataModule):
    """The eight images, in each part."""

    dataset_name = "eight"
    num_classes = 6
    image_shape = (1, 1, 11)
    mean = (0.0,)
    std = (1.0,)

    def __init__(self, groups=GROUPS, batch_size=8, **options):
        super().__init__(
            batch_size=batch_size, eval_batch_size=3, **options
        )  # 3, 3 and 2: a mean of means would be wrong
        self.groups = groups

    @property
    def data_spec(self):
        return {**super().data_spec, **({"groups": self.groups} if self.groups else {})}

    def download(self):
        """Nothing to fetch."""

    def make_splits(self):
        pixels = torch.tensor([fine + supers + groups for _, fine, supers, groups in IMAGES], dtype=torch.uint8)
        labels = torch.tensor([y for y, *_ in IMAGES])
        for part in ("train_set", "val_set", "test_set"):
            setattr(self, part, TensorImages(pixels.view(8, 1, 1, 11), labels))
        self.class_names = ["beagle", "owl", "siamese", "pug", "wren", "kite"]
        self.class_levels = {"superclass": SUPERCLASSES}


class Shares(ImageNetwork):
    """Says what the pixels say."""

    def __init__(self, num_classes, image_shape):
        super().__init__(num_classes, image_shape)
        assert num_classes == 6 + 3 + 2
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return (x.flatten(1) * 255 + 1e-6).log() * self.factor
