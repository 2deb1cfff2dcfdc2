"""Images larger than the network's size, seen tile by tile; memory does not grow with their height.

Each tile is predicted as an image of its own. Two things of one class, seen in two neighbouring tiles, are one if they
share more than half of what both cover together where the tiles overlap. A stuff class is one segment of the image.
Between two tiles a pixel belongs to the nearer one: the overlap is cut in its middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from pisr_core.config import DataConfig
from pisr_core.data.loading import evaluation_batch
from pisr_core.data.pictures.deep_images import ValueRange
from pisr_core.data.pictures.images import image_size, read_pixels
from pisr_core.data.pictures.tiff_rows import TiffRows
from pisr_core.errors import ConfigError
from pisr_core.inference.behind import finished_behind
from pisr_core.inference.large_images import MAP_PIXELS, PICTURE_SIDE, begun_maps, bounded_size, network_config
from pisr_core.inference.stitching import PackedMap, Stitcher
from pisr_core.models import PanopticModel
from pisr_core.runtime.patience import LONGER
from pisr_core.runtime.pipeline import read_ahead
from pisr_core.structures import PanopticSegmentation, Sample

DEFAULT_SHARE = 8
"""The overlap is this part of a tile's side, unless the user says another."""

RowsReader = Callable[[int, int], UInt8[np.ndarray, "h W 3"]]
"""Gives an image's rows from one on up to another."""


@dataclass(frozen=True)
class Tiling:
    """How images are cut.

    Attributes:
        side: of a tile, pixels of the image.
        overlap: of neighbouring tiles at least, pixels; they lie evenly.
    """

    side: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.side // 2:
            raise ConfigError(
                f"--overlap {self.overlap}: from 0 to half of a tile, which is {self.side // 2} pixels of {self.side}."
            )

    def check(self, size_divisor: int) -> None:
        """Raises `ConfigError` for tiles that are smaller than the network's stride, pixels."""
        if self.side < size_divisor:
            raise ConfigError(
                f"--tile {self.side}: smaller than the network's stride, to which images are padded. Choose at least "
                f"{size_divisor}; larger tiles cut fewer things."
            )

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether an image (H, W) is one tile."""
        return max(size) <= self.side

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Where along a side of an image its tiles begin and end."""
        if length <= self.side:
            return [(0, length)]
        gaps = -(-(length - self.side) // (self.side - self.overlap))
        starts = (place * (length - self.side) // gaps for place in range(gaps + 1))
        return [(start, start + self.side) for start in starts]


@dataclass(frozen=True)
class TiledImage:
    """An image that is read some rows at a time.

    Attributes:
        name: for messages.
        size: (H, W) in pixels.
        rows: reads it.
    """

    name: str
    size: tuple[int, int]
    rows: RowsReader


def open_tiled(path: Path, tiling: Tiling, value_range: ValueRange) -> TiledImage | None:
    """An image that is larger than a tile, a TIFF file to be read some rows at a time; `None` for a smaller one.

    Raises:
        DataError: it cannot be read.
    """
    try:
        file = TiffRows(path, value_range)
    except (OSError, ValueError):  # another format, or one that can only be read as a whole
        return None if tiling.fits(image_size(path)) else tiled_pixels(str(path), read_pixels(path, None, value_range))
    return None if tiling.fits(file.size) else TiledImage(str(path), file.size, file.rows)


def tiled_pixels(name: str, pixels: UInt8[np.ndarray, "H W 3"]) -> TiledImage:
    """An image that is in memory."""
    return TiledImage(name, (pixels.shape[0], pixels.shape[1]), lambda top, bottom: pixels[top:bottom])


@dataclass(frozen=True)
class TiledPrediction:
    """What was seen in an image.

    Attributes:
        map: at its own size.
        picture: RGB of the image, of one that is too large at a smaller size.
    """

    map: PackedMap
    picture: UInt8[np.ndarray, "h w 3"]


class TilePredictor:
    """Predicts large images.

    Args:
        model: is on `device`, in inference mode.
        tiling: how images are cut.
        config: the evaluation size of a tile.
        device: where the model computes.
        batch_size: tiles at once.
        max_side: longest side at which the network sees a tile, pixels.
    """

    def __init__(
        self,
        model: PanopticModel,
        tiling: Tiling,
        config: DataConfig,
        device: torch.device,
        batch_size: int = 1,
        max_side: int | None = None,
    ) -> None:
        tiling.check(model.size_divisor)
        self.model, self.tiling, self.config, self.device = model, tiling, config, device
        self.batch_size, self.max_side = batch_size, max_side

    def predict(self, image: TiledImage) -> TiledPrediction:
        """The map of an image, tile row after tile row.

        Raises:
            DataError: the image cannot be read.
            DeviceError: out of memory.
        """
        stitcher = Stitcher(image.size, [category.isthing for category in self.model.categories])
        height, width = bounded_size(image.size, MAP_PIXELS, PICTURE_SIDE)
        picture = np.empty((height, width, 3), np.uint8)
        done = 0
        spans = self.tiling.spans(image.size[0])
        read = read_ahead((image.rows(*span) for span in spans), 1, self.config.timeout, LONGER, lambda: image.name)
        for (top, bottom), pixels in zip(spans, read, strict=True):
            stitcher.add_row(top, self._tiles(image, pixels))
            first, last = (row * height // image.size[0] for row in (done, bottom))
            if first < last:
                new = pixels[done - top :]
                picture[first:last] = cv2.resize(new, (width, last - first), interpolation=cv2.INTER_AREA)
            done = bottom
        return TiledPrediction(stitcher.packed(), picture)

    def _tiles(
        self, image: TiledImage, pixels: UInt8[np.ndarray, "h W 3"]
    ) -> Iterator[tuple[int, PanopticSegmentation]]:
        """The maps of a row of tiles, with the column that each begins at."""
        spans = self.tiling.spans(image.size[1])
        size = (len(pixels), spans[0][1])
        config = network_config(image.name, size, self.config, self.max_side)
        groups = [spans[place : place + self.batch_size] for place in range(0, len(spans), self.batch_size)]

        def begun() -> Iterator[Callable[[], list[PanopticSegmentation]]]:
            for group in groups:
                samples = [_sample(image.name, pixels[:, left:right]) for left, right in group]
                batch = evaluation_batch(samples, config, self.model.size_divisor)
                yield begun_maps(self.model, batch, self.device)

        for group, maps in zip(groups, finished_behind(begun(), self.device), strict=True):
            yield from ((left, panoptic) for (left, _), panoptic in zip(group, maps, strict=True))


def _sample(name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> Sample:
    return Sample(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1), None, 0, name)
