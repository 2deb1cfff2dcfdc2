"""From a model to a file that other runtimes read, checked before it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from pisr_core.config import ScenesConfig
from pisr_core.data.pictures.deep_images import ValueRange
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.scenes import SceneDataset
from pisr_core.errors import ConfigError, ExportError
from pisr_core.exporting.checking import Deviation, check_batches, compare
from pisr_core.exporting.formats import FORMATS, Format
from pisr_core.exporting.tracing import INPUT, trace
from pisr_core.models import PanopticModel
from pisr_core.models.exportable import ExportableNetwork
from pisr_core.runtime.atomic import written_whole

PICTURES = 2
"""Scenes that the check looks at where no images are given."""


@dataclass(frozen=True)
class ExportRequest:
    """What is wanted.

    Attributes:
        format: a name of `FORMATS`.
        size: (H, W) of the images in pixels; when dynamic, of the example and the first check.
        batch: number of images, 0 for any where the architecture allows it, else 1.
        dynamic: leave height and width free.
        merging: give the panoptic map, not the predictions that it is made of.
    """

    format: str
    size: tuple[int, int]
    batch: int = 0
    dynamic: bool = True
    merging: bool = True


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the file.
        megabytes: its size, 10⁶ bytes.
        metadata: what it says of itself.
        sizes: (H, W) that it was checked at.
        deviations: of each output.
    """

    path: Path
    megabytes: float
    metadata: dict[str, Any]
    sizes: tuple[tuple[int, int], ...]
    deviations: tuple[Deviation, ...]


def export_model(
    model: PanopticModel,
    path: Path,
    request: ExportRequest,
    images: Sequence[Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Writes a model as ONNX or `torch.export` archive, once it answers as the model does.

    Args:
        model: on the CPU.
        path: the file.
        request: what is wanted.
        images: to check on, beside noise; without any the built-in scenes are painted.
        progress: called with (done, total) after each part of the check.

    Raises:
        ConfigError: the size does not fit the model, or a package is missing.
        ExportError: the model cannot be exported or the file deviates from it. `path` is left as it was.
        DataError: an image cannot be read.
    """
    network = model.eval().network.exportable(request.merging)
    check_size(request.size, model.size_divisor, network.smallest)
    kind: Format = FORMATS[request.format]()
    pictures = _pictures(images, request.size, model.config.data.value_range)
    batch = request.batch or (None if network.free_batch else 1)
    program = trace(network, request.size, batch, request.dynamic)
    metadata = describe(network, request, batch)
    content = kind.serialize(program, tuple(network.outputs), metadata)
    sizes = _checked_sizes(network, request)
    batches = check_batches(pictures, sizes, (2, 1) if batch is None else (batch,))
    deviations = compare(network, kind.runner(content), batches, progress)
    for found in deviations:
        if not found.acceptable:
            raise ExportError(
                f"{path}: not written, since its {found.output} deviates from the model's by {found.relative:.1e} "
                f"({found.tolerance:.0e} is allowed). Near-ties that rounding decides can do that: check on images "
                "like yours with --check-images."
            )
    with written_whole(path) as part:
        part.write_bytes(content)
    return ExportReport(path, len(content) / 1e6, metadata, sizes, deviations)


def default_size(model: PanopticModel) -> tuple[int, int]:
    """(H, W) of the training crop, brought to what the model takes."""
    height, width = model.config.data.crop
    return _fitting((height, width), model.size_divisor, model.network.exportable(merging=False).smallest)


def check_size(size: tuple[int, int], divisor: int, smallest: int) -> None:
    """Raises `ConfigError` where a side is not a multiple of the divisor, or too small a one."""
    fitting = _fitting(size, divisor, smallest)
    if size != fitting:
        raise ConfigError(
            f"--size {size[0]}x{size[1]}: this model takes sides that are multiples of {divisor}, at least "
            f"{smallest * divisor}. Use --size {fitting[0]}x{fitting[1]}."
        )


def _fitting(size: tuple[int, int], divisor: int, smallest: int) -> tuple[int, int]:
    height, width = (max(smallest, -(-side // divisor)) * divisor for side in size)
    return height, width


def describe(network: ExportableNetwork, request: ExportRequest, batch: int | None) -> dict[str, Any]:
    """What a file says of itself; values that JSON can hold."""
    model = network.model
    relation = model.config.relation
    heights, widths = _ranges(network, request)
    return {
        "format": 1,
        "preset": model.config.name,
        "architecture": model.config.architecture,
        "relation": relation.name,
        "top_k": relation.top_k,
        "input": {
            "name": INPUT,
            "layout": "(batch, 3, height, width) uint8 RGB, normalised within the graph",
            "value_range": list(model.config.data.value_range),
            "batch": batch,
            "size_divisor": model.size_divisor,
            "height": list(heights),
            "width": list(widths),
        },
        "merging": request.merging,
        "outputs": network.outputs,
        "categories": [asdict(category) | {"color": list(category.color)} for category in model.categories],
        "thing_ids": list(model.thing_ids),
    }


def _ranges(network: ExportableNetwork, request: ExportRequest) -> tuple[tuple[int, int], tuple[int, int]]:
    """The (lowest, highest) height and width in pixels."""
    if request.dynamic:
        return network.free_range(request.size)
    height, width = request.size
    return (height, height), (width, width)


def _checked_sizes(network: ExportableNetwork, request: ExportRequest) -> tuple[tuple[int, int], ...]:
    """The size that was asked for and, when dynamic, about the smallest one and the next larger one."""
    heights, widths = _ranges(network, request)
    height, width = request.size
    step = network.model.size_divisor
    small = min(heights[0] + step, heights[1]), widths[0]
    large = min(height + step, heights[1]), min(width + 2 * step, widths[1])
    return tuple(dict.fromkeys((request.size, small, large)))


def _pictures(images: Sequence[Path], size: tuple[int, int], value_range: ValueRange) -> list[UInt8[Tensor, "3 _ _"]]:
    if images:
        return [read_image(path, value_range=value_range) for path in images]
    scenes = SceneDataset(ScenesConfig(size=(max(size[0], 64), max(size[1], 64))), "val")
    return [scenes[index].image for index in range(PICTURES)]
