"""What a prediction leaves on the disk."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torchvision.transforms.v2 import functional as transform

from pisr_core.data.coco.files import CocoPanopticWriter, ReservedImage
from pisr_core.data.pictures.video import written_video
from pisr_core.inference.inputs import Film, Input
from pisr_core.inference.large_images import MAP_PIXELS, PICTURE_SIDE, bounded_size, nearest_resized
from pisr_core.inference.tiles import TiledPrediction
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category, PanopticSegmentation, Sample
from pisr_core.visualization.overlay import overlay


@dataclass(frozen=True)
class PredictedImage:
    """One image's files.

    Attributes:
        image: the input.
        panoptic: the PNG of segment ids.
        overlay: the picture; of a film's frame the film of pictures.
        segments: number of segments.
    """

    image: Path
    panoptic: Path
    overlay: Path
    segments: int


@dataclass(frozen=True)
class Predicted:
    """An image with its panoptic map, and its place in the JSON.

    Attributes:
        input: where it comes from.
        sample: the image; `None` of one that was seen tile by tile.
        panoptic: the map, which then comes with a picture of the image.
        entry: the place.
    """

    input: Input
    sample: Sample | None
    panoptic: PanopticSegmentation | TiledPrediction
    entry: ReservedImage

    def pixels(self) -> int:
        """That are held."""
        return (self.panoptic.picture if isinstance(self.panoptic, TiledPrediction) else self.panoptic.ids).size


@dataclass(frozen=True)
class Written:
    """An image whose map is written, and the picture of a film's frame, which is not yet.

    Attributes:
        result: its files.
        film: what it is a frame of.
        picture: of the frame.
    """

    result: PredictedImage
    film: Film | None = None
    picture: UInt8[np.ndarray, "H W 3"] | None = None


class PredictionWriter(CocoPanopticWriter):
    """Writes maps and pictures below `out`; the JSON appears when the `with` block ends well.

    Args:
        out: the folder.
        categories: what the segments' class positions mean.
    """

    def __init__(self, out: Path, categories: tuple[Category, ...]) -> None:
        super().__init__(out / "panoptic.json", out / "panoptic", categories)
        self.pictures = out / "overlay"

    def write_files(self, predicted: Predicted) -> Written:
        """Writes an image's map and picture; several threads may do so at once. A frame's picture is drawn only."""
        item, panoptic = predicted.input, predicted.panoptic
        if isinstance(panoptic, TiledPrediction):
            full = panoptic.map
            png, segments = self.write_rows(predicted.entry, full.size, full.rows(), full.segments), full.segments
            picture = overlay(panoptic.picture, full.at(panoptic.picture.shape[:2]), self.categories)
        else:
            assert predicted.sample is not None
            png, segments = self.write(predicted.entry, panoptic), panoptic.segments
            picture = _picture(predicted.sample, panoptic, self.categories, lasting_ids=item.film is not None)
        if item.film is not None:
            path = self.pictures / f"{item.film.name}.mp4"
            return Written(PredictedImage(item.source, png, path, len(segments)), item.film, picture)
        path = self.pictures / f"{png.stem}.jpg"
        with written_whole(path, sync=False) as part:
            Image.fromarray(picture).save(part, format="JPEG", quality=92)
        return Written(PredictedImage(item.source, png, path, len(segments)))


def _picture(
    sample: Sample, panoptic: PanopticSegmentation, categories: tuple[Category, ...], lasting_ids: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """The overlay, of an image that is too large at a smaller size."""
    pixels = sample.image.permute(1, 2, 0).numpy()
    own = (pixels.shape[0], pixels.shape[1])
    size = bounded_size(own, MAP_PIXELS, PICTURE_SIDE)
    if size == own:
        return overlay(np.ascontiguousarray(pixels), panoptic, categories, lasting_ids)
    smaller = transform.resize(sample.image, list(size), antialias=True).permute(1, 2, 0).contiguous().numpy()
    return overlay(smaller, replace(panoptic, ids=nearest_resized(panoptic.ids, size)), categories, lasting_ids)


def with_films(written: Iterable[Written]) -> Generator[PredictedImage]:
    """Writes the pictures of films' frames to their films as they pass; a film appears after its last frame."""
    for film, images in groupby(written, key=lambda image: image.film):
        if film is None:
            yield from (image.result for image in images)
            continue
        first = next(images)
        with written_video(first.result.overlay, film.fps) as add:
            for image in chain((first,), images):
                assert image.picture is not None
                add(image.picture)
                yield image.result
