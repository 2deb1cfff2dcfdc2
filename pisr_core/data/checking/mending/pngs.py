"""PNGs with the ids that they should have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisr_core.data.checking.reading.pairing import SplitPairs
from pisr_core.data.checking.systematic import Infos, Reading
from pisr_core.data.coco.files import read_panoptic_png, write_panoptic_png
from pisr_core.errors import DataError
from pisr_core.pixel_runs import find_runs
from pisr_core.runtime.atomic import written_whole


@dataclass(frozen=True)
class MendedPng:
    """A PNG to write.

    Attributes:
        source: the PNG as it is.
        target: where it goes.
        reading: what its ids are.
        infos: the segments that the JSON lists.
    """

    source: Path
    target: Path
    reading: Reading
    infos: Infos


def mended_pngs(split: SplitPairs, annotations: Sequence[Any], folder: Path) -> Iterator[MendedPng]:
    """The PNGs of a mended JSON's usable annotations, to be written into a folder."""
    assert split.reading is not None
    listed = (entry.get("image_id") for entry in annotations if isinstance(entry, dict))
    kept_ids = {image_id for image_id in listed if isinstance(image_id, int | str)}
    for image_id, annotation in split.entries.annotations.items():
        if image_id in kept_ids:
            name = split.names.get(("annotations", annotation.position), annotation.file_name)
            yield MendedPng(split.pngs[image_id], folder / name, split.reading, annotation.infos)


def write_mended_png(png: MendedPng) -> bool:
    """Writes a PNG with its right ids; a copy, and false, where these cannot be told.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        runs = find_runs(read_panoptic_png(png.source))
        ids = png.reading.segment_ids(runs.present, png.infos)
    except DataError:
        ids = None
    if ids is None:
        if png.source.is_file():
            with written_whole(png.target, sync=False) as partial:
                shutil.copyfile(png.source, partial)
        return False
    write_panoptic_png(png.target, runs.paint(ids))
    return True
