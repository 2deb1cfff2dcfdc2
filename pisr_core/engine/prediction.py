"""Panoptic maps and pictures of images that have no annotation."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from pisr_core.data.coco_files import CocoPanopticWriter
from pisr_core.data.images import read_image
from pisr_core.data.loading import evaluation_batch
from pisr_core.engine.evaluation import inference, run
from pisr_core.errors import DataError
from pisr_core.models import PanopticModel
from pisr_core.structures import PanopticSegmentation, Sample
from pisr_core.visualization.overlay import overlay
from pisr_core.weights.atomic import written_whole

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What is taken from a folder; a file that is named itself may have any."""


@dataclass(frozen=True)
class PredictedImage:
    """One image's files.

    Attributes:
        image: the input.
        panoptic: the PNG of segment ids.
        overlay: the picture.
        segments: number of segments.
    """

    image: Path
    panoptic: Path
    overlay: Path
    segments: int


@dataclass(frozen=True)
class PredictionReport:
    """What became of the inputs.

    Attributes:
        written: in the order of the inputs.
        failed: why others were skipped.
    """

    written: tuple[PredictedImage, ...]
    failed: tuple[str, ...]


def predict(
    model: PanopticModel,
    paths: Sequence[str],
    out: Path,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> PredictionReport:
    """Writes `out/panoptic.json`, `out/panoptic/*.png` (COCO's format, with scores) and `out/overlay/*.jpg`.

    Maps have the size of their image. Images of equal names get a number. An unreadable image is skipped.

    Args:
        model: is on `device`.
        paths: images, folders (with all that is below them) or glob patterns.
        out: the folder to write to, and nowhere else.
        device: where the model computes.
        progress: called with (done, total) after each image.

    Raises:
        DataError: the paths lead to no image at all.
        CheckpointError: a picture cannot be written.
    """
    images, failed = find_images(paths, exclude=out)
    if not images:
        raise DataError("\n".join(failed) or "no images to predict. Name images, folders or patterns.")
    written: list[PredictedImage] = []
    names = distinct_names(images)
    with (
        CocoPanopticWriter(out / "panoptic.json", out / "panoptic", model.categories) as writer,
        inference(model),
    ):
        for image_id, (path, name) in enumerate(zip(images, names, strict=True), start=1):
            try:
                sample = Sample(read_image(path), None, image_id, name)
                panoptic = predict_sample(model, sample, device)
                png = writer.add(image_id, name, panoptic)
            except DataError as error:
                log.debug("skipped: %s", error)
                failed.append(str(error))
            else:
                picture = out / "overlay" / f"{png.stem}.jpg"
                pixels = sample.image.permute(1, 2, 0).contiguous().numpy()
                _save_picture(overlay(pixels, panoptic, model.categories), picture)
                written.append(PredictedImage(path, png, picture, len(panoptic.segments)))
            if progress is not None:
                progress(image_id, len(images))
    return PredictionReport(tuple(written), tuple(failed))


def predict_sample(model: PanopticModel, sample: Sample, device: torch.device) -> PanopticSegmentation:
    """One image's panoptic map at its own size; the network sees it at the preset's evaluation size."""
    batch = evaluation_batch([sample], model.config.data, model.size_divisor)
    return run(model, batch, device)[0].panoptic


def find_images(paths: Sequence[str], exclude: Path) -> tuple[list[Path], list[str]]:
    """The images that paths lead to, each once, and a message for each path that leads to none.

    Args:
        paths: images, folders or glob patterns (`**` for any depth).
        exclude: a folder whose files are not taken from folders and patterns, as earlier results lie there.
    """
    found: dict[Path, Path] = {}
    failed = []
    for text in paths:
        path = Path(text)
        if path.is_file():
            candidates = [path]
        elif path.is_dir():
            candidates = _images_among(path.rglob("*"), exclude)
        else:
            candidates = _images_among(map(Path, glob.glob(text, recursive=True)), exclude)
        if not candidates:
            failed.append(f"{text}: no image there. Name an image, a folder of images or a pattern.")
        for candidate in candidates:
            found.setdefault(candidate.resolve(), candidate)
    return list(found.values()), failed


def _images_among(paths: Iterable[Path], exclude: Path) -> list[Path]:
    excluded = exclude.resolve()
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and excluded not in path.resolve().parents
    )


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


def _save_picture(picture: UInt8[np.ndarray, "H W 3"], path: Path) -> None:
    with written_whole(path) as part:
        Image.fromarray(picture).save(part, format="JPEG", quality=92)
