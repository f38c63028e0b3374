"""A network with its normalisation as one graph, in the formats that others read."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_tasks.export.predict import ONNX

CALIBRATION_BATCH = 64


class Graph(nn.Module):
    """Maps images (B, C, H, W) in [0, 1] to logits (B, num_classes).

    Args:
        network: Maps normalised images to logits, maybe of further heads after those of the classes; is put into
            evaluation mode.
        num_classes: Number of classes.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, num_classes: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.num_classes = num_classes
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise, then answer."""
        return self.network((images - self.mean) / self.std)[:, : self.num_classes]


def write_graphs(graph: Graph, shape: tuple[int, int, int], folder: Path, metadata: dict[str, Any]) -> None:
    """Write `model.onnx`, `model.pt2` (torch.export) and `model.safetensors` (the network's weights), any batch size.

    Args:
        graph: The graph.
        shape: Shape (C, H, W) of one image.
        folder: Output folder, which must exist.
        metadata: Kept in the safetensors file beside the weights.
    """
    images = torch.zeros(2, *shape)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about their own parts
        program = torch.export.export(graph, (images,), dynamic_shapes=({0: batch},))
        torch.export.save(program, folder / "model.pt2")
        torch.onnx.export(
            graph,
            (images,),
            folder / ONNX["float32"],
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    weights = {name: value.contiguous().clone() for name, value in graph.network.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"facts": json.dumps(metadata)})


def write_int8(folder: Path, images: np.ndarray) -> None:
    """Write `model_int8.onnx`: weights per channel and activations in 8 bits, by onnxruntime's static quantisation.

    Args:
        folder: Folder that holds `model.onnx`.
        images: From which the ranges of activations are taken. Shape (N, C, H, W), float32 in [0, 1].
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[np.ndarray] = iter(np.array_split(images, -(-len(images) // CALIBRATION_BATCH)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    prepared = folder / ".prepared.onnx"
    try:
        quant_pre_process(folder / ONNX["float32"], prepared)
        quantize_static(prepared, folder / ONNX["int8"], Reader(), quant_format=QuantFormat.QDQ, per_channel=True)
    finally:
        prepared.unlink(missing_ok=True)
