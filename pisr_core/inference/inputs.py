"""Images and films on their way to the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from pisr_core.config import DataConfig
from pisr_core.data.loading import EvaluationBatch, evaluation_batch
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.images import image_size
from pisr_core.data.pictures.video import VIDEO_SUFFIXES, Video
from pisr_core.errors import DataError
from pisr_core.inference.large_images import network_config
from pisr_core.inference.tiles import TiledImage, Tiling, open_tiled
from pisr_core.runtime.pipeline import read_ahead
from pisr_core.structures import Sample

FRAMES_AHEAD = 8
"""Frames of a film that are decoded before they are needed."""


@dataclass(frozen=True)
class Film:
    """A film that is being predicted.

    Attributes:
        name: stem of its results.
        fps: frames a second.
    """

    name: str
    fps: float


@dataclass(frozen=True)
class Input:
    """An image that is asked for.

    Attributes:
        number: its place among all, from 1.
        source: the file.
        name: file name of which its results take the stem.
        film: what it is a frame of.
        frame: that frame's pixels.
        error: why there is no image.
        pixels: how many the image has, from its header; 0 where there is none to read.
    """

    number: int
    source: Path
    name: str
    film: Film | None = None
    frame: UInt8[np.ndarray, "H W 3"] | None = None
    error: str = ""
    pixels: int = 0


@dataclass(frozen=True)
class Prepared:
    """An image as the network reads it.

    Attributes:
        input: where it comes from.
        batch: a batch of this image alone.
        error: why there is neither that nor `tiled`.
        tiled: the image where it is seen tile by tile.
    """

    input: Input
    batch: EvaluationBatch | None
    error: str = ""
    tiled: TiledImage | None = None

    @property
    def sample(self) -> Sample:
        """The image at its own size, where there is one."""
        assert self.batch is not None
        return self.batch.samples[0]


class Inputs:
    """The images of files and the frames of films, one after another.

    Args:
        files: images and films.
        names: what their results are called after.

    Attributes:
        total: how many there are, as far as is known yet: films tell when they are opened.
        reading: the file that is being looked at.
    """

    def __init__(self, files: list[Path], names: list[str]) -> None:
        self._files = list(zip(files, names, strict=True))
        self._number = 0
        self.total = len(files)
        self.reading = Path()

    def __iter__(self) -> Iterator[Input]:
        for path, name in self._files:
            self.reading = path
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield from self._frames(path, Path(name).stem)
            else:
                yield self._next(path, name, pixels=_pixels(path))

    def _frames(self, path: Path, stem: str) -> Iterator[Input]:
        try:
            video = Video(path)
            film = Film(stem, video.fps)
            self.total += max(video.frames, 1) - 1
            for position, frame in enumerate(read_ahead(iter(video), FRAMES_AHEAD), start=1):
                yield self._next(path, f"{stem}_{position:06d}.png", film, frame, pixels=frame[..., 0].size)
        except DataError as error:
            yield self._next(path, path.name, error=str(error))

    def _next(
        self,
        path: Path,
        name: str,
        film: Film | None = None,
        frame: UInt8[np.ndarray, "H W 3"] | None = None,
        error: str = "",
        pixels: int = 0,
    ) -> Input:
        self._number += 1
        self.total = max(self.total, self._number)
        return Input(self._number, path, name, film, frame, error, pixels)


def _pixels(path: Path) -> int:
    try:
        height, width = image_size(path, upright=False)
    except DataError:
        return 0
    return height * width


def prepare(
    item: Input, config: DataConfig, size_divisor: int, max_side: int | None = None, tiling: Tiling | None = None
) -> Prepared:
    """Reads an image, resizes it to its evaluation size, or to a longest side, and pads it; a large one is opened."""
    if item.error:
        return Prepared(item, None, item.error)
    try:
        if tiling is not None and item.frame is None:
            tiled = open_tiled(item.source, tiling, config.value_range)
            if tiled is not None:
                return Prepared(item, None, tiled=tiled)
        if item.frame is None:
            image = read_image(item.source, value_range=config.value_range)
        else:
            image = torch.from_numpy(item.frame).permute(2, 0, 1).contiguous()
        sample = Sample(image, None, item.number, item.name)
        limited = network_config(str(item.source), (image.shape[1], image.shape[2]), config, max_side)
        return Prepared(item, evaluation_batch([sample], limited, size_divisor))
    except DataError as error:
        return Prepared(item, None, str(error))


def grouped(items: Iterable[Prepared], batch_size: int, frames_alone: bool = False) -> Iterator[list[Prepared]]:
    """Neighbours of one padded size, at most `batch_size` together; those without a batch by themselves.

    Args:
        items: in their order.
        batch_size: the most.
        frames_alone: a film's frames are by themselves too.
    """
    group: list[Prepared] = []
    for item in items:
        if group and (len(group) == batch_size or not _may_join(item, group[0], frames_alone)):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _may_join(item: Prepared, first: Prepared, frames_alone: bool) -> bool:
    if frames_alone and (item.input.film or first.input.film):
        return False
    return _padded_size(item) == _padded_size(first)


def _padded_size(item: Prepared) -> torch.Size | None:
    return None if item.batch is None else item.batch.images.shape


def joined(batches: list[EvaluationBatch]) -> EvaluationBatch:
    """One batch of several that are of one padded size."""
    return EvaluationBatch(
        torch.cat([batch.images for batch in batches]),
        [size for batch in batches for size in batch.input_sizes],
        [sample for batch in batches for sample in batch.samples],
    )
