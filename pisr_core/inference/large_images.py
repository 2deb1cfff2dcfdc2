"""Limits of memory for images that are far larger than what networks are made for. Others are not touched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Int

from pisr_core.config import DataConfig
from pisr_core.data.augmentation import evaluation_size
from pisr_core.data.loading import EvaluationBatch
from pisr_core.data.pictures.images import MAX_MEGAPIXELS
from pisr_core.models import PanopticModel
from pisr_core.runtime.devices.device import device_error
from pisr_core.structures import PanopticSegmentation

log = logging.getLogger(__name__)

NETWORK_PIXELS = 1 << 24
"""Most that the network sees of an image (4096×4096), unless the user gives the longest side."""

MAP_PIXELS = 1 << 25
"""Most that maps are merged at and pictures are drawn at; a larger map is enlarged from there."""

WAITING_PIXELS = 1 << 27
"""Most of the images that wait for the network, and of those that wait to be written; one may always."""

PICTURE_SIDE = 65_000
"""Longest side of a picture; JPEG ends at 65,535."""


def bounded_size(size: tuple[int, int], pixels: int, side: int | None = None) -> tuple[int, int]:
    """(H, W) scaled down to at most so many pixels, and to a longest side; the same where it is within both.

    Args:
        size: (H, W).
        pixels: most of them.
        side: the longest, pixels.
    """
    factor = min(1.0, (pixels / (size[0] * size[1])) ** 0.5, (side or max(size)) / max(size))
    if factor == 1.0:
        return size
    height, width = (max(1, int(length * factor)) for length in size)
    return min(height, pixels), min(width, pixels)


def network_config(name: str, size: tuple[int, int], config: DataConfig, max_side: int | None = None) -> DataConfig:
    """The config with the limit of the long side at which the network shall see an image.

    Args:
        name: of the image, for the warning that it is scaled down unasked.
        size: (H, W) of the image.
        config: the evaluation size.
        max_side: longest side that is asked for, pixels; `None` for `NETWORK_PIXELS`.
    """
    if max_side is not None:
        return replace(config, eval_max_long_side=min(max_side, config.eval_max_long_side or max_side))
    height, width = evaluation_size(size, config)
    if not NETWORK_PIXELS < height * width <= MAX_MEGAPIXELS * 10**6:  # beyond that the batch is refused
        return config
    long_side = max(bounded_size((height, width), NETWORK_PIXELS))
    log.warning(
        "%s: %d×%d pixels; the network sees it with a longest side of %d. --max-side chooses another.",
        name,
        size[0],
        size[1],
        long_side,
    )
    return replace(config, eval_max_long_side=long_side)


def predicted_maps(model: PanopticModel, batch: EvaluationBatch, device: torch.device) -> list[PanopticSegmentation]:
    """A batch's panoptic maps at the size of its samples.

    Raises:
        DeviceError: out of memory, with the images and the cure; or the device failed.
    """
    return begun_maps(model, batch, device)()


def begun_maps(
    model: PanopticModel, batch: EvaluationBatch, device: torch.device
) -> Callable[[], list[PanopticSegmentation]]:
    """Has the network see a batch. Returns what merges and fetches its maps, see `predicted_maps`."""
    own_sizes = [(sample.image.shape[1], sample.image.shape[2]) for sample in batch.samples]
    with _faults_named(batch):
        output = model(batch.images.to(device, non_blocking=True))

    def finish() -> list[PanopticSegmentation]:
        map_sizes = [bounded_size(size, MAP_PIXELS) for size in own_sizes]
        with _faults_named(batch):
            results = model.panoptic(output, batch.input_sizes, map_sizes)
        return [enlarged(result.panoptic, size) for result, size in zip(results, own_sizes, strict=True)]

    return finish


@contextmanager
def _faults_named(batch: EvaluationBatch) -> Iterator[None]:
    """Says of which images, and how to do with less memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        names = ", ".join(sample.file_name for sample in batch.samples)
        height, width = batch.images.shape[-2:]
        cure = f"The network saw {names} at {height}×{width}: give --max-side, or a smaller --batch-size."
        fault = device_error(error, cure)
        if fault is None:
            raise
        raise fault from error


def enlarged(panoptic: PanopticSegmentation, size: tuple[int, int]) -> PanopticSegmentation:
    """The map at another size, each pixel that of its nearest; areas follow.

    Args:
        panoptic: the map, with small ids.
        size: (H, W).
    """
    if panoptic.ids.shape == size:
        return panoptic
    ids = nearest_resized(panoptic.ids, size)
    areas = np.zeros(int(ids.max()) + 1, np.int64)
    for line in ids:  # one after another, for counting takes eight bytes a pixel
        areas += np.bincount(line, minlength=len(areas))
    segments = (replace(segment, area=int(areas[segment.id])) for segment in panoptic.segments)
    return PanopticSegmentation(ids, tuple(segment for segment in segments if segment.area))


def nearest_resized(ids: Int[np.ndarray, "H W"], size: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """Segment ids (H, W) int32 at another size, without new ones."""
    return cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST)
