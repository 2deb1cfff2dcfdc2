"""Panoptic PNGs and their JSON from raw annotations: in parallel, and where it was left off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pisr_core.data.prepare.raw import Entry, RawImage, write_image
from pisr_core.data.prepare.record import FinishedImages, SplitRecord
from pisr_core.errors import DataError, PisrError
from pisr_core.runtime.processes.parallel import parallel_map
from pisr_core.structures import Category

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

NAMED_ERRORS = 20
"""Broken images that a message names."""


@dataclass(frozen=True)
class SplitReport:
    """What became of a split.

    Attributes:
        json_path: its panoptic JSON; the PNGs lie in the folder of that name.
        images: all of them.
        made: PNGs that were written now; the others were there.
        segments: of all images.
    """

    json_path: Path
    images: int
    made: int
    segments: int


def write_split(
    images: Sequence[RawImage],
    categories: Sequence[Category],
    json_path: Path,
    workers: int = 0,
    progress: Progress | None = None,
    settings: dict[str, Any] | None = None,
) -> SplitReport:
    """Writes a split in COCO's panoptic format.

    Finished PNGs are kept and their entries noted. So a run that ended early goes on where it stopped, and a PNG
    that was removed is made anew. The JSON appears when every image is done.

    Args:
        images: the split; one may be made when it is asked for.
        categories: what goes into the JSON.
        json_path: the JSON; the PNGs go to the folder of that name without `.json`.
        workers: processes, 0 for one a core.
        progress: told (done, total) after each image.
        settings: what decides the result beside the images; goes into the JSON's `info`.

    Raises:
        DataError: images are broken, or what lies there already was made with other settings.
    """
    record, png_dir = SplitRecord(json_path, settings), json_path.with_suffix("")
    finished = record.read()
    todo = [place for place, image in enumerate(images) if not _is_finished(image, finished, png_dir)]
    write = partial(_write_or_error, images=images, png_dir=png_dir)
    results = parallel_map(write, todo, workers, lambda place: images[place].file_name)
    errors = []
    for done, result in enumerate(results, start=len(images) - len(todo) + 1):
        if isinstance(result, PisrError):
            errors.append(str(result))
        else:
            record.append(result)
        if progress is not None:
            progress(done, len(images))
    if errors:
        shown = "\n  ".join(errors[:NAMED_ERRORS] + ["…"] * (len(errors) > NAMED_ERRORS))
        raise DataError(
            f"{json_path}: {len(errors)} of {len(images)} images could not be prepared:\n  {shown}\n"
            "Mend them and run the same command again; the finished ones are kept."
        )
    if todo:
        finished = record.read()
    ids = [image.image_id for image in images]
    if todo or not json_path.is_file():
        record.write_json(finished, ids, categories)
    segments = sum(len(finished[image_id]["annotation"]["segments_info"]) for image_id in ids)
    return SplitReport(json_path, len(images), len(todo), segments)


def _is_finished(image: RawImage, finished: FinishedImages, png_dir: Path) -> bool:
    return image.image_id in finished and (png_dir / image.png_name).is_file()


def _write_or_error(place: int, images: Sequence[RawImage], png_dir: Path) -> Entry | PisrError:
    """So that one broken image does not stop the others."""
    try:
        return write_image(images[place], png_dir)
    except PisrError as error:
        return error
