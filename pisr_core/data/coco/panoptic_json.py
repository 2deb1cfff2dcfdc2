"""A whole panoptic JSON, checked and read into arrays.

Entries of the usual form are decoded straight into typed structs and checked many at once. Where one is unusual, it and
its neighbours go through the parsers of single entries, which say what is wrong or accept it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Int

from pisr_core.data.coco.entries import (
    check_unique,
    entries_of,
    image_id_is_usable,
    is_inside,
    parse_annotation,
    parse_category,
    parse_image,
    show,
    size_is_usable,
)
from pisr_core.data.coco.json_files import CURE, load_json_lists, portions, typed
from pisr_core.data.coco.tables import NO_AREA, AnnotationTable, CocoPanopticFile, ImageTable, SegmentColumns
from pisr_core.errors import DataError
from pisr_core.structures import MOST_CLASSES, VOID_ID, Category


class ImageEntry(msgspec.Struct, gc=False):
    """What is read of an entry of `images`."""

    id: int | str
    file_name: str
    height: int
    width: int


class SegmentEntry(msgspec.Struct, gc=False):
    """What is read of an entry of `segments_info`."""

    id: int
    category_id: int
    iscrowd: bool | int = False
    score: float = 1.0
    area: int | float | None = NO_AREA


class AnnotationEntry(msgspec.Struct, gc=False):
    """What is read of an entry of `annotations`."""

    image_id: int | str
    file_name: str
    segments_info: list[SegmentEntry]


@dataclass(frozen=True)
class Annotations:
    """Some entries of `annotations`, one after another.

    Attributes:
        image_ids: of their images.
        file_names: of their PNGs.
        segments: of all of them.
    """

    image_ids: list[int | str]
    file_names: list[str]
    segments: SegmentColumns


def read_panoptic_json(path: Path, reference: CocoPanopticFile | None = None) -> CocoPanopticFile:
    """Reads and checks a panoptic JSON.

    Args:
        path: the file.
        reference: for predictions, whose JSON may hold annotations alone: the ground truth that gives the
            images and categories. Predictions that list images of the same names but other ids, as those of
            `pisr predict` do, are matched by name.

    Raises:
        DataError: the file is missing or broken, a key is missing or of a wrong type, an id comes twice, a
            file name leaves its folder, or an annotation names an unknown image or category.
    """
    content = load_json_lists(path)
    if reference is None:
        categories = _categories(content, path)
        images = read_images(content, path)
    else:
        categories, images = reference.categories, reference.images
    annotations = _annotations(content, path, categories)
    check_unique(annotations.image_ids, f"{path}: annotation of image")
    owners = annotations.image_ids
    if reference is not None:
        _check_scores(annotations, path)
        ids = _reference_ids(content, reference)
        if set(owners) <= ids.keys():
            owners = [ids[image_id] for image_id in owners]
    places = {image_id: place for place, image_id in enumerate(images.ids)}
    unknown = set(owners) - places.keys()
    if unknown:
        raise DataError(
            f"{path}: an annotation's image_id {show(min(unknown, key=str))} is not among the images. {CURE}"
        )
    of_image = np.array([places[image_id] for image_id in owners], np.int32)
    return CocoPanopticFile(
        categories, images, AnnotationTable(images.ids, of_image, annotations.file_names, annotations.segments)
    )


def _categories(content: Any, path: Path) -> tuple[Category, ...]:
    entries = entries_of(content, "categories", path)
    parsed = [parse_category(entry, f"{path}: categories[{position}]") for position, entry in enumerate(entries)]
    categories = sorted(parsed, key=lambda category: category.id)
    check_unique([category.id for category in categories], f"{path}: category id")
    if not 1 <= len(categories) <= MOST_CLASSES:
        raise DataError(f"{path}: has {len(categories)} categories; from 1 to {MOST_CLASSES} can be used. {CURE}")
    return tuple(categories)


def read_images(content: Any, path: Path) -> ImageTable:
    """The list of images of a file's content.

    Raises:
        DataError: there is none, or an entry cannot be used.
    """
    ids: list[int | str] = []
    file_names: list[str] = []
    sizes: list[tuple[int, int]] = []
    decoder = msgspec.json.Decoder(ImageEntry)
    for start, entries in portions(entries_of(content, "images", path)):
        usual = typed(entries, decoder)
        if usual is not None and all(map(_is_plain_image, usual)):
            ids += [entry.id for entry in usual]
            file_names += [entry.file_name for entry in usual]
            sizes += [(entry.height, entry.width) for entry in usual]
            continue
        for position, entry in enumerate(entries, start):
            record = parse_image(entry, f"{path}: images[{position}]")
            ids.append(record.id)
            file_names.append(record.file_name)
            sizes.append(record.size)
    check_unique(ids, f"{path}: image id")
    return ImageTable(ids, file_names, sizes)


def _is_plain_image(entry: ImageEntry) -> bool:
    return size_is_usable(entry.height, entry.width) and image_id_is_usable(entry.id) and is_inside(entry.file_name)


def _annotations(content: Any, path: Path, categories: Sequence[Category]) -> Annotations:
    known = np.array([category.id for category in categories], np.int64)
    positions = {category.id: position for position, category in enumerate(categories)}
    decoder = msgspec.json.Decoder(AnnotationEntry)
    parts = []
    for start, entries in portions(entries_of(content, "annotations", path)):
        usual = typed(entries, decoder)
        part = None if usual is None else _plain_annotations(usual, known)
        parts.append(part or _parsed_annotations(entries, start, path, positions))
    return _joined(parts)


def _plain_annotations(entries: Sequence[AnnotationEntry], known: Int[np.ndarray, " categories"]) -> Annotations | None:
    """The entries as they are; `None` where one of them cannot be used, or only perhaps."""
    segments = [segment for entry in entries for segment in entry.segments_info]
    owners = np.repeat(np.arange(len(entries)), [len(entry.segments_info) for entry in entries])
    try:
        ids, category_ids = (_integers(segments, name) for name in ("id", "category_id"))
        crowds = _integers(segments, "iscrowd")
    except OverflowError:
        return None
    classes = np.minimum(np.searchsorted(known, category_ids), len(known) - 1)
    if not (
        all(image_id_is_usable(entry.image_id) and is_inside(entry.file_name) for entry in entries)
        and ((VOID_ID < ids) & (ids < 2**24)).all()
        and (known[classes] == category_ids).all()
        and np.isin(crowds, (0, 1)).all()
        and np.diff(np.sort(owners << 24 | ids)).all()  # no id twice in one annotation
    ):
        return None
    return Annotations(
        [entry.image_id for entry in entries],
        [entry.file_name for entry in entries],
        SegmentColumns(
            np.bincount(owners, minlength=len(entries)).astype(np.int32),
            ids.astype(np.int32),
            classes.astype(np.uint16),
            crowds.astype(bool),
            np.fromiter(map(attrgetter("score"), segments), np.float64, len(segments)),
            _areas([segment.area for segment in segments]),
        ),
    )


def _integers(segments: Sequence[SegmentEntry], name: str) -> Int[np.ndarray, " segments"]:
    return np.fromiter(map(attrgetter(name), segments), np.int64, len(segments))


def _areas(listed: Sequence[Any]) -> Int[np.ndarray, " segments"]:
    """Of what entries say, which is trusted in nothing: `NO_AREA` where it is no integer."""
    try:
        values = array("q", listed)
    except (TypeError, OverflowError):
        within = (min(max(area, NO_AREA), 2**63 - 1) if isinstance(area, int) else NO_AREA for area in listed)
        values = array("q", within)
    return np.clip(np.array(values, np.int64), NO_AREA, -NO_AREA - 1).astype(np.int32)


def _parsed_annotations(entries: Iterable[Any], start: int, path: Path, positions: dict[int, int]) -> Annotations:
    """The entries by the parser of single ones, which says what is wrong."""
    image_ids, records, areas = [], [], []
    for position, entry in enumerate(entries, start):
        image_id, record = parse_annotation(entry, f"{path}: annotations[{position}]", positions)
        image_ids.append(image_id)
        records.append(record)
        areas += [info.get("area", NO_AREA) for info in entry["segments_info"]]
    segments = [segment for record in records for segment in record.segments]
    columns = SegmentColumns(
        np.array([len(record.segments) for record in records], np.int32),
        np.array([segment.id for segment in segments], np.int32),
        np.array([segment.category for segment in segments], np.uint16),
        np.array([segment.iscrowd for segment in segments], bool),
        np.array([segment.score for segment in segments], np.float64),
        _areas(areas),
    )
    return Annotations(image_ids, [record.file_name for record in records], columns)


def _joined(parts: Sequence[Annotations]) -> Annotations:
    parts = parts or [_parsed_annotations((), 0, Path(), {})]
    columns = {
        name: np.concatenate([getattr(part.segments, name) for part in parts])
        for name in ("counts", "ids", "classes", "crowds", "scores", "areas")
    }
    listed = columns.pop("scores")
    scores = None if (listed == 1).all() else listed
    return Annotations(
        list(chain.from_iterable(part.image_ids for part in parts)),
        list(chain.from_iterable(part.file_names for part in parts)),
        SegmentColumns(scores=scores, **columns),
    )


def _check_scores(annotations: Annotations, path: Path) -> None:
    """Predictions cannot be ranked by NaN; on the truth's side it does no harm."""
    segments = annotations.segments
    if segments.scores is None:
        return
    for place in np.flatnonzero(~np.isfinite(segments.scores))[:1]:
        owner = int(np.searchsorted(np.cumsum(segments.counts), place, side="right"))
        raise DataError(
            f"{path}: the score of segment {segments.ids[place]} of {annotations.file_names[owner]} is "
            f"{segments.scores[place]}, but must be a finite number. {CURE}"
        )


def _reference_ids(content: Any, reference: CocoPanopticFile) -> dict[int | str, int | str]:
    """The reference's id for each of the file's own, if each of its images has a name that the reference knows."""
    known = {image.file_name: image.id for image in reference.images}
    try:
        ids = {image["id"]: known[image["file_name"]] for image in content["images"]}
    except (KeyError, TypeError):
        return {}
    return ids if len(set(ids.values())) == len(ids) else {}
