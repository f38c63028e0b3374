"""Classify images with the network in this folder: `python predict.py photos/*.jpg`, or `from predict import load`.

Needs onnxruntime, NumPy and Pillow, and nothing else: the folder can be copied anywhere.
"""

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FACTS = "model.json"
ROUNDING = 1e-3  # by which floats may leave [0, 1], as after resizing
ONNX = {"float32": "model.onnx", "int8": "model_int8.onnx"}
TOP = 5  # classes named for each image
BATCH = 100
SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class ExportedModel:
    """A network that maps images to class scores, normalisation inside.

    Attributes:
        facts: Content of the model card, as data.
        session: An onnxruntime session.
    """

    facts: dict[str, Any]
    session: Any

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the scores."""
        return self.facts["classes"]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map images to logits.

        Args:
            images: Shape (B, C, H, W), uint8, or floats in [0, 1].

        Returns:
            Shape (B, num_classes), float32.

        Raises:
            ValueError: If the images have another shape or type, or values out of range.
        """
        expected = tuple(self.facts["image_shape"])
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(f"expected images (B, {', '.join(map(str, expected))}), got {images.shape}")
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise ValueError(f"expected uint8 images, or floats in [0, 1], got {images.dtype}")
        x = images.astype(np.float32)
        if images.dtype == np.uint8:
            x /= 255
        elif x.size and not (x.min() >= -ROUNDING and x.max() <= 1 + ROUNDING):
            why = "divide by 255?" if x.min() >= 0 else "the network normalises them itself"
            raise ValueError(f"expected floats in [0, 1], got {x.min():g} to {x.max():g}: {why}")
        return self.session.run(None, {"images": x})[0]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Map images, see `__call__`, to probabilities (B, num_classes)."""
        logits = self(images)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def read(self, file: Path) -> np.ndarray:
        """Decode an image file: upright, scaled to cover the network's input, and cropped to its centre.

        Returns:
            Shape (C, H, W), uint8.

        Raises:
            ValueError: If it is no whole image, or its pixels are floats.
        """
        channels, height, width = self.facts["image_shape"]
        try:
            with Image.open(file) as opened:
                opened.draft("RGB", (2 * width, 2 * height))  # decodes a large JPEG at a smaller size
                image: Image.Image = ImageOps.exif_transpose(opened)
        except Exception as error:  # each of Pillow's formats raises other kinds
            raise ValueError(f"{file} is not a readable image: {error}") from error
        if image.mode == "F":
            raise ValueError(f"{file} has floating-point pixels")
        if image.mode.startswith("I"):  # 16 bits
            image = Image.fromarray((np.asarray(image).clip(0, 2**16 - 1) >> 8).astype(np.uint8))
        image = ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image if channels == 3 else image.convert("L"))
        return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def load(folder: str | Path = Path(__file__).parent, precision: str = "float32", threads: int = 0) -> ExportedModel:
    """Load an exported network.

    Args:
        folder: Folder that `export` has written.
        precision: "float32" or "int8".
        threads: Number of onnxruntime's threads; 0 leaves the choice to it.

    Raises:
        FileNotFoundError: If there is no exported network.
    """
    import onnxruntime

    folder = Path(folder).expanduser()
    path = folder / ONNX[precision]
    if not path.is_file() or not (folder / FACTS).is_file():
        raise FileNotFoundError(f"no exported network in {folder}: expected {FACTS} and {path.name}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return ExportedModel(json.loads((folder / FACTS).read_text()), session)


def predict(model: ExportedModel, files: list[Path], table: Path) -> None:
    """Write a CSV file with the likeliest classes of each image and their probabilities; blank for what is no image."""
    top = min(TOP, len(model.classes))
    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    with open(table, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["file", *(f"{name}{rank}" for rank in ranks for name in ("predicted", "probability"))])
        for start in range(0, len(files), BATCH):
            cells = {file: [""] * (2 * top) for file in files[start : start + BATCH]}
            images = {}
            for file in cells:
                try:
                    images[file] = model.read(file)
                except ValueError as error:
                    print(f"warning: {error}", file=sys.stderr)
            answers = model.probabilities(np.stack([*images.values()])) if images else ()
            for file, p in zip(images, answers, strict=True):
                best = np.argsort(-p, kind="stable")[:top]
                cells[file] = [cell for k in best for cell in (model.classes[k], f"{p[k]:.4f}")]
            writer.writerows([file, *row] for file, row in cells.items())


def find_images(places: list[str]) -> list[Path]:
    """List the image files that are named, and those below folders that are not hidden.

    Raises:
        FileNotFoundError: If a place has none.
    """
    found: list[Path] = []
    for place in map(Path, places):
        below = (each for each in sorted(place.rglob("*")) if each.suffix.lower() in SUFFIXES and each.is_file())
        visible = (each for each in below if not any(map(is_hidden, each.relative_to(place).parts)))
        files = [place] if place.is_file() else list(visible)
        if not files:
            raise FileNotFoundError(f"no image files at {place}")
        found += files
    return found


def is_hidden(name: str) -> bool:
    """Say whether a program has made a file or folder for itself, as `.ipynb_checkpoints` and `__MACOSX`."""
    return name.startswith(".") or name == "__MACOSX"


def main() -> None:
    """Read the command line, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", help="image files or folders")
    parser.add_argument("--out", type=Path, default=Path("predictions.csv"), help="the table")
    parser.add_argument("--precision", choices=ONNX, default="float32")
    options = parser.parse_args()
    try:
        predict(load(precision=options.precision), find_images(options.images), options.out)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
    print(f"predictions: {options.out}")


if __name__ == "__main__":
    main()
