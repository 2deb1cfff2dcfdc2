"""The JSON file of COCO's panoptic format, checked as it is read."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from pisr_core.errors import DataError
from pisr_core.structures import IGNORE_INDEX, VOID_ID, Category, Segment

T = TypeVar("T")

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
            images and categories.

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
    unknown = annotations.keys() - {image.id for image in images}
    if unknown:
        raise DataError(f"{path}: an annotation's image_id {min(unknown, key=str)!r} is not among the images. {CURE}")
    return CocoPanopticFile(categories, images, annotations)


def distinct_color(index: int) -> tuple[int, int, int]:
    """A stable RGB colour (0–255) for a class without one; successive indices differ clearly."""
    golden_ratio = 0.618034
    hue, value = index * golden_ratio % 1, (0.95, 0.75, 0.55)[index % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.65, value))
    return red, green, blue


def is_inside(file_name: str) -> bool:
    """Whether a name stays in the folder that it is relative to, on every system."""
    path = PureWindowsPath(file_name)  # knows both separators
    return bool(path.parts) and not path.anchor and ".." not in path.parts and "\0" not in file_name


def load_json(path: Path, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        parse_constant: called with `NaN`, `Infinity` or `-Infinity`, which JSON does not have; gives their values.

    Raises:
        DataError: the file is missing, unreadable or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=parse_constant)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Give the path of a COCO panoptic JSON.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path and its rights.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}). {CURE}") from error


def _field(entry: Any, key: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """One value of an object, checked to be there and of its type (booleans are no integers)."""
    if not isinstance(entry, dict):
        raise DataError(f"{where}: is {_show(entry)}, not an object. {CURE}")
    if key not in entry:
        raise DataError(f"{where}: the key '{key}' is missing. {CURE}")
    value = entry[key]
    if not isinstance(value, kinds) or isinstance(value, bool):
        wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise DataError(f"{where}: '{key}' is {_show(value)}, but must be {wanted}. {CURE}")
    return value


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _flag(entry: Any, key: str, where: str) -> bool:
    value = entry.get(key)
    if not isinstance(value, int) or value not in (0, 1):
        raise DataError(f"{where}: '{key}' is {_show(value)}, but must be 0 or 1. {CURE}")
    return bool(value)


def _file_name(entry: Any, where: str) -> str:
    name = _field(entry, "file_name", str, where)
    if not is_inside(name):
        raise DataError(f"{where}: file_name {name!r} leaves its folder. Use a relative name without '..'.")
    return name


def _records(content: Any, key: str, path: Path, parse: Callable[[Any, str], T]) -> tuple[T, ...]:
    entries = _field(content, key, list, str(path))
    return tuple(parse(entry, f"{path}: {key}[{position}]") for position, entry in enumerate(entries))


def _check_unique(ids: Sequence[int | str], what: str) -> None:
    seen: set[int | str] = set()
    for value in ids:
        if value in seen:
            raise DataError(f"{what} {value!r} comes twice. {CURE}")
        seen.add(value)


def _categories(content: Any, path: Path) -> tuple[Category, ...]:
    categories = sorted(_records(content, "categories", path, parse_category), key=lambda category: category.id)
    _check_unique([category.id for category in categories], f"{path}: category id")
    if not 1 <= len(categories) <= IGNORE_INDEX:
        raise DataError(f"{path}: has {len(categories)} categories; from 1 to {IGNORE_INDEX} can be used. {CURE}")
    return tuple(categories)


def parse_category(entry: Any, where: str) -> Category:
    """One entry of `categories`; `DataError` names `where` when it cannot be used."""
    category_id = _field(entry, "id", int, where)
    if category_id < 0:
        raise DataError(f"{where}: id {category_id} is negative. {CURE}")
    name = _field(entry, "name", str, where)
    isthing = _flag(entry, "isthing", where)
    color = _color(entry, where) if "color" in entry else distinct_color(category_id)
    group = _field(entry, "supercategory", str, where) if "supercategory" in entry else ""
    return Category(category_id, name, isthing, color, group)


def _color(entry: Any, where: str) -> tuple[int, int, int]:
    color = _field(entry, "color", list, where)
    if len(color) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in color):
        raise DataError(f"{where}: 'color' is {_show(color)}, but must be three integers of 0–255. {CURE}")
    red, green, blue = color
    return red, green, blue


def parse_image(entry: Any, where: str) -> ImageRecord:
    """One entry of `images`; `DataError` names `where` when it cannot be used."""
    height, width = _field(entry, "height", int, where), _field(entry, "width", int, where)
    if height < 1 or width < 1:
        raise DataError(f"{where}: a size of {height}×{width} pixels. {CURE}")
    return ImageRecord(_field(entry, "id", (int, str), where), _file_name(entry, where), (height, width))


def parse_annotation(entry: Any, where: str, positions: dict[int, int]) -> tuple[int | str, AnnotationRecord]:
    """One entry of `annotations` with its image's id; `positions` are those of the category ids.

    Raises:
        DataError: it cannot be used; the message names `where`.
    """
    image_id = _field(entry, "image_id", (int, str), where)
    infos = _field(entry, "segments_info", list, where)
    segments = tuple(parse_segment(info, f"{where}: segments_info", positions) for info in infos)
    _check_unique([segment.id for segment in segments], f"{where}: segment id")
    return image_id, AnnotationRecord(_file_name(entry, where), segments)


def parse_segment(info: Any, where: str, positions: dict[int, int]) -> Segment:
    """One entry of `segments_info`; `DataError` names `where` when it cannot be used."""
    segment_id, category_id = _field(info, "id", int, where), _field(info, "category_id", int, where)
    if not VOID_ID < segment_id < 2**24:
        raise DataError(f"{where}: segment id {segment_id} is outside 1 to 2²⁴ - 1, what a PNG's colour holds. {CURE}")
    if category_id not in positions:
        raise DataError(f"{where}: segment {segment_id} has the unknown category_id {category_id}. {CURE}")
    iscrowd = _flag(info, "iscrowd", where) if "iscrowd" in info else False
    score = float(_field(info, "score", (int, float), where)) if "score" in info else 1.0
    return Segment(segment_id, positions[category_id], area=0, iscrowd=iscrowd, score=score)
