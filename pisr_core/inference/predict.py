"""Panoptic maps and pictures of images and films that have no annotation."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import torch

from pisr_core.data.loading import evaluation_batch
from pisr_core.data.pictures.images import IMAGE_SUFFIXES
from pisr_core.data.pictures.value_range import with_value_range
from pisr_core.data.pictures.video import VIDEO_SUFFIXES
from pisr_core.errors import DataError
from pisr_core.inference.behind import finished_behind
from pisr_core.inference.files import Predicted, PredictedImage, PredictionWriter, with_films
from pisr_core.inference.film_model import FilmModel
from pisr_core.inference.inputs import Inputs, Prepared, grouped, joined, prepare
from pisr_core.inference.large_images import WAITING_PIXELS, begun_maps, network_config, predicted_maps
from pisr_core.inference.mode import inference
from pisr_core.inference.tiles import TiledPrediction, TilePredictor, Tiling
from pisr_core.inference.tracking import Tracker
from pisr_core.models import PanopticModel
from pisr_core.runtime.patience import LONGER, HangingError, in_time, worker_pool
from pisr_core.runtime.pipeline import mapped_ahead, read_ahead
from pisr_core.structures import PanopticSegmentation, Sample

MOST_THREADS = 16

Map = PanopticSegmentation | TiledPrediction
"""Of an image that was seen as a whole, or tile by tile."""


@dataclass(frozen=True)
class PredictionReport:
    """What became of the inputs.

    Attributes:
        written: in the order of the inputs; of a film each frame.
        failed: why others were skipped, or read in part.
    """

    written: tuple[PredictedImage, ...]
    failed: tuple[str, ...]


def predict(
    model: PanopticModel,
    paths: Sequence[str],
    out: Path,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    batch_size: int = 1,
    max_side: int | None = None,
    tiling: Tiling | None = None,
) -> PredictionReport:
    """Writes `out/panoptic.json`, `out/panoptic/*.png` (COCO's format, with scores) and `out/overlay/*.jpg`.

    Maps have the size of their image. Of a film `clip.mp4` each frame has its map, `clip_000001.png` and so on, and
    the pictures become the film `overlay/clip.mp4`; segments keep id and colour from frame to frame, by `Tracker`
    unless the network sees to it (`FilmModel`). Images of equal names get a number. An unreadable image is skipped.

    Threads read images ahead of the network, and draw and write behind it; a few images wait at most, of huge ones
    one. These are scaled down for the network, for merging and for pictures (`large_images`).

    Args:
        model: is on `device`.
        paths: images, films, folders (with all that is below them) or glob patterns.
        out: the folder to write to, and nowhere else.
        device: where the model computes.
        progress: called with (done, total) after each image; a film's frames count when it is opened.
        batch_size: most images at once; they are neighbours of one padded size. A network that carries something from
            frame to frame sees each by itself.
        max_side: longest side that the network sees, pixels; `None` for that of the model's config, with a limit.
        tiling: how images that are larger than a tile are cut, no films; `None` to see all as a whole.

    Raises:
        ConfigError: tiles are smaller than the network's stride.
        DataError: the paths lead to no image at all, or a file is not read within `data.timeout`.
        DeviceError: out of memory.
        OutputError: a file cannot be written.
    """
    if tiling is not None:
        tiling.check(model.size_divisor)
    patience = model.config.data.timeout
    look = partial(find_images, paths, out, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    files, failed = in_time(look, patience, LONGER)
    if not files:
        raise DataError("\n".join(failed) or "no images to predict. Name images, folders or patterns.")
    inputs = Inputs(files, distinct_names(files))
    tally = _Tally(inputs, progress)
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    pictures = [path for path in files if path.suffix.lower() not in VIDEO_SUFFIXES]
    data = in_time(partial(with_value_range, model.config.data, pictures), patience, LONGER)
    read = partial(prepare, config=data, size_divisor=model.size_divisor, max_side=max_side, tiling=tiling)
    tiles = None if tiling is None else TilePredictor(model, tiling, data, device, batch_size, max_side)

    writer = PredictionWriter(out, model.categories)
    with writer, worker_pool(threads) as pool, inference(model):
        items = read_ahead(iter(inputs), 1, patience, LONGER, lambda: str(inputs.reading))
        waiting = (threads + batch_size, attrgetter("pixels"), WAITING_PIXELS)
        ahead = mapped_ahead(read, items, pool, *waiting, patience, LONGER, lambda item: str(item.source))
        seen = _panoptic_maps(model, ahead, device, batch_size, tiles)
        maps = tally.readable(_tracked(seen, model), writer)
        written = mapped_ahead(writer.write_files, maps, pool, threads, Predicted.pixels, WAITING_PIXELS)
        with closing(with_films(written)) as images:
            for image in images:
                tally.add(image)
    tally.close()
    return PredictionReport(tuple(tally.written), tuple(failed + tally.skipped))


class _Tally:
    """What became of the inputs so far, and who is told."""

    def __init__(self, inputs: Inputs, progress: Callable[[int, int], None] | None) -> None:
        self.inputs = inputs
        self.written: list[PredictedImage] = []
        self.skipped: list[str] = []
        self._progress = progress

    def readable(self, maps: Iterable[tuple[Prepared, Map | None]], writer: PredictionWriter) -> Iterator[Predicted]:
        """The images that have a map, each with its place in the JSON; the others are counted as skipped."""
        for item, panoptic in maps:
            if panoptic is None:
                self.skipped.append(item.error)
                self._tell()
            else:
                entry = writer.reserve(item.input.number, item.input.name)
                yield Predicted(item.input, None if item.batch is None else item.sample, panoptic, entry)

    def add(self, image: PredictedImage) -> None:
        """One more is written."""
        self.written.append(image)
        self._tell()

    def close(self) -> None:
        """No more will come; a film may have announced more frames than it has."""
        done = len(self.written) + len(self.skipped)
        if done < self.inputs.total:
            self.inputs.total = done
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(len(self.written) + len(self.skipped), self.inputs.total)


def _panoptic_maps(
    model: PanopticModel,
    images: Iterable[Prepared],
    device: torch.device,
    batch_size: int,
    tiles: TilePredictor | None,
) -> Iterator[tuple[Prepared, Map | None]]:
    """Each image with its map at its own size; without one where it could not be read."""
    for group in finished_behind(_begun(model, images, device, batch_size, tiles), device):
        yield from group


def _begun(
    model: PanopticModel,
    images: Iterable[Prepared],
    device: torch.device,
    batch_size: int,
    tiles: TilePredictor | None,
) -> Iterator[Callable[[], list[tuple[Prepared, Map | None]]]]:
    """What gives neighbours their maps, once the network has seen them."""
    carries = model.network.film_memory() is not None
    film, seeing = None, model
    for group in grouped(images, batch_size, frames_alone=carries):
        if carries and group[0].input.film is not film:
            film = group[0].input.film
            seeing = model if film is None else FilmModel(model)
        batches = [item.batch for item in group if item.batch is not None]
        if not batches:
            yield partial(list, [_tiled_map(item, tiles) for item in group])
            continue
        batch = joined(batches)
        finish = begun_maps(seeing, batch.pin_memory() if device.type == "cuda" else batch, device)
        yield partial(_with_maps, group, finish)


def _with_maps(
    group: list[Prepared], finish: Callable[[], list[PanopticSegmentation]]
) -> list[tuple[Prepared, Map | None]]:
    return list(zip(group, finish(), strict=True))


def _tiled_map(item: Prepared, tiles: TilePredictor | None) -> tuple[Prepared, Map | None]:
    if tiles is None or item.tiled is None:
        return item, None
    try:
        return item, tiles.predict(item.tiled)
    except HangingError:
        raise
    except DataError as error:
        return replace(item, error=str(error)), None


def _tracked(
    maps: Iterable[tuple[Prepared, Map | None]], model: PanopticModel
) -> Iterator[tuple[Prepared, Map | None]]:
    """The same, with ids that stay from frame to frame of a film."""
    if model.network.film_memory() is not None:  # they do
        yield from maps
        return
    film, tracker = None, Tracker(model.categories)
    for item, panoptic in maps:
        if isinstance(panoptic, PanopticSegmentation) and item.input.film is not None:
            if item.input.film is not film:
                film, tracker = item.input.film, Tracker(model.categories)
            panoptic = tracker.update(panoptic)
        yield item, panoptic


def predict_sample(model: PanopticModel, sample: Sample, device: torch.device) -> PanopticSegmentation:
    """One image's panoptic map at its own size; the network sees it at the preset's evaluation size."""
    config = network_config(sample.file_name, (sample.image.shape[1], sample.image.shape[2]), model.config.data)
    batch = evaluation_batch([sample], config, model.size_divisor)
    return predicted_maps(model, batch, device)[0]


def find_images(
    paths: Sequence[str],
    exclude: Path,
    suffixes: Set[str] = IMAGE_SUFFIXES,
    tell: Callable[[str | Path], object] = str,
) -> tuple[list[Path], list[str]]:
    """The images that paths lead to, each once, and a message for each path that leads to none.

    Args:
        paths: images, folders or glob patterns (`**` for any depth).
        exclude: a folder whose files are not taken from folders and patterns, as earlier results lie there.
        suffixes: of what is taken from folders and patterns.
        tell: hears of each path before it is looked at.
    """
    found: dict[Path, Path] = {}
    failed = []
    for text in paths:
        tell(text)
        path = Path(text)
        if os.path.isfile(path):  # Path.is_file() fails on names that are too long
            candidates = [path]
        elif os.path.isdir(path):
            candidates = _images_among(path.rglob("*"), exclude, suffixes, tell)
        else:
            candidates = _images_among(map(Path, glob.glob(text, recursive=True)), exclude, suffixes, tell)
        if not candidates:
            failed.append(f"{text}: no image there. Name an image, a folder of images or a pattern.")
        for candidate in candidates:
            found.setdefault(candidate.resolve(), candidate)
    return list(found.values()), failed


def _images_among(
    paths: Iterable[Path], exclude: Path, suffixes: Set[str], tell: Callable[[Path], object]
) -> list[Path]:
    excluded = exclude.resolve()
    found = []
    for path in paths:
        tell(path)
        if path.suffix.lower() in suffixes and path.is_file() and excluded not in path.resolve().parents:
            found.append(path)
    return sorted(found)


def distinct_names(images: Sequence[Path]) -> list[str]:
    """The file names; of those with equal stems the second gets `-2` and so on."""
    taken: set[str] = set()
    names = []
    for path in images:
        stem, number = path.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.casefold())
        names.append(f"{stem}{path.suffix}")
    return names
