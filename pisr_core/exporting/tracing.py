"""From a network to `torch.export`'s graph, with free or fixed sizes."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from pisr_core.errors import ExportError
from pisr_core.exporting.pooling import decompose_adaptive_pooling
from pisr_core.models.exportable import ExportableNetwork

INPUT = "images"

LARGEST_BATCH = 1 << 10


def trace(network: ExportableNetwork, size: tuple[int, int], batch: int | None, dynamic: bool) -> ExportedProgram:
    """The graph of a network.

    Args:
        network: what to trace.
        size: (H, W) in pixels of the images; of the example only, when dynamic.
        batch: number of images, `None` for any.
        dynamic: leave height and width free.

    Raises:
        ExportError: a part of it cannot be traced.
    """
    example = torch.zeros(batch or 2, 3, *size, dtype=torch.uint8)
    divisor = network.model.size_divisor
    shapes: dict[int, Any] = {}
    if batch is None:
        shapes[0] = Dim("batch", min=1, max=LARGEST_BATCH)
    if dynamic:
        for axis, (low, high) in enumerate(network.free_range(size), start=2):
            if low < high:
                shapes[axis] = divisor * Dim(f"cells{axis}", min=low // divisor, max=high // divisor)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torchvision's, of what torch will rename
            return torch.export.export(network, (example,), dynamic_shapes={INPUT: shapes or None})
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
        cure = "Try --fixed." if dynamic else "This part of the model has no exportable form."
        raise ExportError(f"torch.export cannot trace this model ({_first_line(error)}). {cure}") from error


def for_onnx(program: ExportedProgram) -> ExportedProgram:
    """The same with operations that ONNX has at free sizes."""
    pooling = torch.ops.aten.adaptive_avg_pool2d.default
    if not any(node.target == pooling for node in program.graph.nodes):
        return program
    return program.run_decompositions({pooling: decompose_adaptive_pooling})


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
