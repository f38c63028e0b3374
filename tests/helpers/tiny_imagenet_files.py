"""Small folders in the form of Tiny ImageNet."""

import numpy as np
import torch
from PIL import Image

WNIDS = ("n01443537", "n01641577", "n02124075")  # in their order, which is not that of wnids.txt
WORDS = {"n00001740": "entity", "n02124075": "Egyptian cat", "n01443537": "goldfish, Carassius auratus"}
WORDS["n01641577"] = "bullfrog, Rana catesbeiana"
ANNOTATED = (2, 0, 1, 1, 2, 0)  # class of each image of the validation split


def photograph(number):
    """64 x 64: red on the left and green on the right above, blue and a grey of the number's own below."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :32, 0] = pixels[:32, 32:, 1] = pixels[32:, :32, 2] = 200
    pixels[32:, 32:] = 5 * number
    return Image.fromarray(pixels)


def numbers(images):
    """Which photographs are in images (N, 3, 64, 64), sorted out by their parts; JPEG is not exact."""
    parts = images.unflatten(2, (2, 32)).unflatten(4, (2, 32))[:, :, :, 4:-4, :, 4:-4].double().mean((3, 5))
    expected = torch.zeros(len(images), 3, 2, 2)
    expected[:, 0, 0, 0] = expected[:, 1, 0, 1] = expected[:, 2, 1, 0] = 200
    expected[:, :, 1, 1] = parts[:, :1, 1, 1]
    assert (parts - expected).abs().max() < 4
    return (parts[:, 0, 1, 1] / 5).round().int().tolist()


def write(root, count=4, official=WNIDS):
    """A folder with so many training images a class, numbered from 0, and then six of the validation split."""
    folder = root / "tiny-imagenet-200"
    number = 0
    for wnid in WNIDS:
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        for index in range(count):
            photograph(number).save(images / f"{wnid}_{index}.JPEG", quality=100, subsampling=0)
            number += 1
        (images.parent / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    (folder / "test" / "images").mkdir(parents=True)
    photograph(0).save(folder / "test" / "images" / "test_0.JPEG")
    (folder / "val" / "images").mkdir(parents=True)
    lines = []
    for index, label in enumerate(ANNOTATED):
        photograph(number + index).save(folder / "val" / "images" / f"val_{index}.JPEG", quality=100, subsampling=0)
        lines.append(f"val_{index}.JPEG\t{WNIDS[label]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in official[::-1]))
    (folder / "words.txt").write_text("".join(f"{wnid}\t{names}\n" for wnid, names in WORDS.items()))
    return folder
