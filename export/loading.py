"""Exported networks, loaded with onnxruntime alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runs.paths import user_path

FACTS = "model.json"
ROUNDING = 1e-3  # by which floats may leave [0, 1], as after resizing
ONNX = {"float32": "model.onnx", "int8": "model_int8.onnx"}


@dataclass(frozen=True)
class ExportedModel:
    """A network that maps images to class scores, normalisation inside.

    Attributes:
        facts: What the model card says, as data.
        session: Of onnxruntime.
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


def load(folder: str | Path, precision: str = "float32", threads: int = 0) -> ExportedModel:
    """Load what `python -m export` has written.

    Args:
        folder: Its folder.
        precision: "float32" or "int8".
        threads: Of onnxruntime; its own choice if 0.

    Raises:
        FileNotFoundError: If there is no exported network.
    """
    import onnxruntime

    folder = user_path(folder)
    path = folder / ONNX[precision]
    if not path.is_file() or not (folder / FACTS).is_file():
        raise FileNotFoundError(f"no exported network in {folder}: expected {FACTS} and {path.name}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return ExportedModel(json.loads((folder / FACTS).read_text()), session)
