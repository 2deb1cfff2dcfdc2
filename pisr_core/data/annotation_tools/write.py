"""Panoptic maps as files that annotation tools open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pisr_core.config import check_choice
from pisr_core.data.annotation_tools import cityscapes_vps, coco, cvat, label_studio, labelme, yolo
from pisr_core.data.annotation_tools.shapes import LabelledImage, LabelledSegment
from pisr_core.data.coco.files import CocoPanopticFile, read_panoptic_json, read_segmentation
from pisr_core.pixel_runs import find_runs
from pisr_core.structures import Category, PanopticSegmentation

Writer = Callable[[Iterable[LabelledImage], tuple[Category, ...], Path], None]

WRITERS: dict[str, Writer] = {
    "labelme": labelme.write,
    "cvat": cvat.write,
    "label-studio": label_studio.write,
    "coco-instances": coco.write,
    "yolo": yolo.write,
    "cityscapes-vps": cityscapes_vps.write,
}
"""What writes images with their segments below a folder, by the name of the format."""


@dataclass(frozen=True)
class Written:
    """What became of panoptic maps.

    Attributes:
        images: how many.
        segments: in the tool's files.
        left_out: stuff segments, of which the format knows nothing.
    """

    images: int
    segments: int
    left_out: int


def check_format(name: str) -> None:
    """Raises `ConfigError` when no tool's format has that name."""
    check_choice("format", name, tuple(WRITERS))


def write_for_tool(panoptic: Path, out: Path, format_name: str, images: Mapping[str, Path] | None = None) -> Written:
    """Writes the maps of a panoptic JSON in the format of an annotation tool.

    Args:
        panoptic: the JSON; its PNGs lie in the folder of that name without `.json`.
        out: folder for the tool's files.
        format_name: a name of `WRITERS`.
        images: where images lie, by their names in the JSON.

    Raises:
        ConfigError: an unknown format.
        DataError: the JSON or a PNG is missing or broken.
        OutputError: a file cannot be written.
    """
    check_format(format_name)
    file = read_panoptic_json(panoptic)
    counted: Counter[str] = Counter()

    def images_with_segments() -> Iterator[LabelledImage]:
        for image in _images(file, panoptic.with_suffix(""), images or {}):
            stuff = sum(not segment.isthing for segment in image.segments) if format_name == "yolo" else 0
            counted.update(images=1, left_out=stuff, segments=len(image.segments) - stuff)
            yield image

    WRITERS[format_name](images_with_segments(), file.categories, out)
    return Written(counted["images"], counted["segments"], counted["left_out"])


def _images(file: CocoPanopticFile, png_dir: Path, paths: Mapping[str, Path]) -> Iterator[LabelledImage]:
    for image in file.images:
        record = file.annotations[image.id]
        panoptic = read_segmentation(png_dir / record.file_name, record)
        path = paths.get(image.file_name, Path(image.file_name))
        yield LabelledImage(image.file_name, path, image.size, tuple(_segments(panoptic, file.categories)))


def _segments(panoptic: PanopticSegmentation, categories: tuple[Category, ...]) -> Iterator[LabelledSegment]:
    runs = find_runs(panoptic.ids)
    places = {segment_id: place for place, segment_id in enumerate(runs.present.tolist())}
    for segment in panoptic.segments:
        left, top, width, height = runs.boxes[places[segment.id]].tolist()
        mask = panoptic.ids[top : top + height, left : left + width] == segment.id
        category = categories[segment.category]
        yield LabelledSegment(segment.id, category.name, category.isthing, mask, left, top, segment.score)
