"""The JSON file of COCO's panoptic format, checked as it is read."""

from __future__ import annotations

import colorsys
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from pisr_core.data.images import MAX_MEGAPIXELS
from pisr_core.errors import DataError
from pisr_core.structures import IGNORE_INDEX, VOID_ID, Category, Segment

T = TypeVar("T")

LARGEST_ID = 2**31 - 1
"""Of a category: maps of classes are of 32 bits."""

CURE = "Mend the file or export it again in COCO panoptic format."


@dataclass(frozen=True)
class ImageRecord:
    """One entry of `images`.

    Attributes:
        id: its id, an integer or (Cityscapes) a string.
        file_name: its path in the folder of images.
        size: (H, W) in pixels.
    """

    id: int | str
    file_name: str
    size: tuple[int, int]


@dataclass(frozen=True)
class AnnotationRecord:
    """One entry of `annotations`.

    Attributes:
        file_name: the PNG's path in its folder.
        segments: what its ids stand for; their areas are 0 until the PNG is read.
    """

    file_name: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class CocoPanopticFile:
    """A checked panoptic JSON.

    Attributes:
        categories: sorted by id; segments name them by position.
        images: in the file's order.
        annotations: by image id; images may lack one.
    """

    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    annotations: dict[int | str, AnnotationRecord]


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
    content = load_json(path)
    if reference is None:
        categories = _categories(content, path)
        images = _records(content, "images", path, parse_image)
        _check_unique([image.id for image in images], f"{path}: image id")
    else:
        categories, images = reference.categories, reference.images
    positions = {category.id: position for position, category in enumerate(categories)}
    pairs = _records(content, "annotations", path, lambda entry, where: parse_annotation(entry, where, positions))
    _check_unique([image_id for image_id, _ in pairs], f"{path}: annotation of image")
    annotations = dict(pairs)
    if reference is not None:
        _check_scores(annotations.values(), path)
        ids = _reference_ids(content, reference)
        if annotations.keys() <= ids.keys():
            annotations = {ids[image_id]: record for image_id, record in annotations.items()}
    unknown = annotations.keys() - {image.id for image in images}
    if unknown:
        raise DataError(
            f"{path}: an annotation's image_id {show(min(unknown, key=str))} is not among the images. {CURE}"
        )
    return CocoPanopticFile(categories, images, annotations)


def _reference_ids(content: Any, reference: CocoPanopticFile) -> dict[int | str, int | str]:
    """The reference's id for each of the file's own, if each of its images has a name that the reference knows."""
    known = {image.file_name: image.id for image in reference.images}
    try:
        ids = {image["id"]: known[image["file_name"]] for image in content["images"]}
    except (KeyError, TypeError):
        return {}
    return ids if len(set(ids.values())) == len(ids) else {}


def distinct_color(index: int) -> tuple[int, int, int]:
    """A stable RGB colour (0–255) for a class without one; successive indices differ clearly."""
    golden_ratio = 0.618034
    hue, value = index * golden_ratio % 1, (0.95, 0.75, 0.55)[index % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.65, value))
    return red, green, blue


def is_inside(file_name: str) -> bool:
    """Whether a name stays in the folder that it is relative to, on every system."""
    path = PureWindowsPath(file_name)  # knows both separators
    if not path.parts or path.anchor or ".." in path.parts or "\0" in file_name:
        return False
    try:
        os.fsencode(file_name)
    except UnicodeEncodeError:  # half a character
        return False
    return True


def load_json(path: Path, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        parse_constant: called with `NaN`, `Infinity` or `-Infinity`, which JSON does not have; gives their values.

    Raises:
        DataError: the file is missing, unreadable or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=parse_constant)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check the path.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path and its rights.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}). {CURE}") from error


def _field(entry: Any, key: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """One value of an object, checked to be there and of its type (booleans are no integers)."""
    if not isinstance(entry, dict):
        raise DataError(f"{where}: is {show(entry)}, not an object. {CURE}")
    if key not in entry:
        raise DataError(f"{where}: the key '{key}' is missing. {CURE}")
    value = entry[key]
    if not isinstance(value, kinds) or isinstance(value, bool):
        wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise DataError(f"{where}: '{key}' is {show(value)}, but must be {wanted}. {CURE}")
    return value


def show(value: Any) -> str:
    """A value in a message, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(entry: Any, key: str, where: str) -> str:
    value = _field(entry, key, str, where)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: '{key}' is {show(value)}, which holds half a character. {CURE}") from None
    return value


def _flag(entry: Any, key: str, where: str) -> bool:
    value = entry.get(key)
    if not isinstance(value, int) or value not in (0, 1):
        raise DataError(f"{where}: '{key}' is {show(value)}, but must be 0 or 1. {CURE}")
    return bool(value)


def _file_name(entry: Any, where: str) -> str:
    name = _field(entry, "file_name", str, where)
    if not is_inside(name):
        raise DataError(f"{where}: file_name {show(name)} leaves its folder. Use a relative name without '..'.")
    return name


def _records(content: Any, key: str, path: Path, parse: Callable[[Any, str], T]) -> tuple[T, ...]:
    entries = _field(content, key, list, str(path))
    return tuple(parse(entry, f"{path}: {key}[{position}]") for position, entry in enumerate(entries))


def _check_unique(ids: Sequence[int | str], what: str) -> None:
    seen: set[int | str] = set()
    for value in ids:
        if value in seen:
            raise DataError(f"{what} {show(value)} comes twice. {CURE}")
        seen.add(value)


def _check_scores(annotations: Iterable[AnnotationRecord], path: Path) -> None:
    """Predictions cannot be ranked by NaN; on the truth's side it does no harm."""
    for annotation in annotations:
        for segment in annotation.segments:
            if not math.isfinite(segment.score):
                raise DataError(
                    f"{path}: the score of segment {segment.id} of {annotation.file_name} is {segment.score}, but must "
                    f"be a finite number. {CURE}"
                )


def _categories(content: Any, path: Path) -> tuple[Category, ...]:
    categories = sorted(_records(content, "categories", path, parse_category), key=lambda category: category.id)
    _check_unique([category.id for category in categories], f"{path}: category id")
    if not 1 <= len(categories) <= IGNORE_INDEX:
        raise DataError(f"{path}: has {len(categories)} categories; from 1 to {IGNORE_INDEX} can be used. {CURE}")
    return tuple(categories)


def parse_category(entry: Any, where: str) -> Category:
    """One entry of `categories`; `DataError` names `where` when it cannot be used."""
    category_id = _field(entry, "id", int, where)
    if not 0 <= category_id <= LARGEST_ID:
        raise DataError(f"{where}: id {show(category_id)} is outside 0 to 2³¹ - 1. {CURE}")
    name = _text(entry, "name", where)
    isthing = _flag(entry, "isthing", where)
    color = _color(entry, where) if "color" in entry else distinct_color(category_id)
    group = _text(entry, "supercategory", where) if "supercategory" in entry else ""
    return Category(category_id, name, isthing, color, group)


def _color(entry: Any, where: str) -> tuple[int, int, int]:
    color = _field(entry, "color", list, where)
    if len(color) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in color):
        raise DataError(f"{where}: 'color' is {show(color)}, but must be three integers of 0–255. {CURE}")
    red, green, blue = color
    return red, green, blue


def parse_image(entry: Any, where: str) -> ImageRecord:
    """One entry of `images`; `DataError` names `where` when it cannot be used."""
    height, width = _field(entry, "height", int, where), _field(entry, "width", int, where)
    if height < 1 or width < 1 or height * width > MAX_MEGAPIXELS * 10**6:
        raise DataError(
            f"{where}: a size of {show(height)}×{show(width)} pixels; up to {MAX_MEGAPIXELS} million can be used. "
            f"{CURE}"
        )
    return ImageRecord(_image_id(entry, "id", where), _file_name(entry, where), (height, width))


def _image_id(entry: Any, key: str, where: str) -> int | str:
    """An image's id; Cityscapes' files are named after theirs, so that a text must not leave a folder either."""
    image_id = _field(entry, key, (int, str), where)
    if not (is_inside(image_id) if isinstance(image_id, str) else abs(image_id) < 2**63):
        raise DataError(f"{where}: '{key}' is {show(image_id)}, which names no image. {CURE}")
    return image_id


def parse_annotation(entry: Any, where: str, positions: dict[int, int]) -> tuple[int | str, AnnotationRecord]:
    """One entry of `annotations` with its image's id; `positions` are those of the category ids.

    Raises:
        DataError: it cannot be used; the message names `where`.
    """
    image_id = _image_id(entry, "image_id", where)
    infos = _field(entry, "segments_info", list, where)
    segments = tuple(parse_segment(info, f"{where}: segments_info", positions) for info in infos)
    _check_unique([segment.id for segment in segments], f"{where}: segment id")
    return image_id, AnnotationRecord(_file_name(entry, where), segments)


def parse_segment(info: Any, where: str, positions: dict[int, int]) -> Segment:
    """One entry of `segments_info`; `DataError` names `where` when it cannot be used."""
    segment_id, category_id = _field(info, "id", int, where), _field(info, "category_id", int, where)
    if not VOID_ID < segment_id < 2**24:
        raise DataError(
            f"{where}: segment id {show(segment_id)} is outside 1 to 2²⁴ - 1, what a PNG's colour holds. {CURE}"
        )
    if category_id not in positions:
        raise DataError(f"{where}: segment {segment_id} has the unknown category_id {show(category_id)}. {CURE}")
    iscrowd = _flag(info, "iscrowd", where) if "iscrowd" in info else False
    return Segment(segment_id, positions[category_id], area=0, iscrowd=iscrowd, score=_score(info, where))


def _score(info: Any, where: str) -> float:
    score = _field(info, "score", (int, float), where) if "score" in info else 1.0
    try:
        return float(score)
    except OverflowError:  # JSON's integers have no end
        raise DataError(f"{where}: 'score' is {show(score)}, which is too large. {CURE}") from None
