"""Single entries of a JSON in COCO's panoptic format, checked as they are read."""

from __future__ import annotations

import colorsys
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from pisr_core.data.coco.json_files import CURE, JsonList
from pisr_core.data.coco.tables import AnnotationRecord, ImageRecord
from pisr_core.data.pictures.png_decoding import MAX_MEGAPIXELS
from pisr_core.errors import DataError
from pisr_core.structures import VOID_ID, Category, Segment

LARGEST_ID = 2**31 - 1
"""Of a category: maps of classes are of 32 bits."""

PLAIN_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
"""Of files; such a name is inside of its folder on every system."""

ISTHING_CURE = "'pisr data check --split NAME --fix OUT.json' writes it where it is clear what it shall be."


def distinct_color(index: int) -> tuple[int, int, int]:
    """A stable RGB colour (0–255) for a class without one; successive indices differ clearly."""
    golden_ratio = 0.618034
    hue, value = index * golden_ratio % 1, (0.95, 0.75, 0.55)[index % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.65, value))
    return red, green, blue


def is_inside(file_name: str) -> bool:
    """Whether a name stays in the folder that it is relative to, on every system."""
    if PLAIN_NAME.fullmatch(file_name):
        return True
    path = PureWindowsPath(file_name)  # knows both separators
    if not path.parts or path.anchor or ".." in path.parts or "\0" in file_name:
        return False
    try:
        os.fsencode(file_name)
    except UnicodeEncodeError:  # half a character
        return False
    return True


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


def _flag(entry: Any, key: str, where: str, cure: str = CURE) -> bool:
    value = entry.get(key)
    if not isinstance(value, int) or value not in (0, 1):
        raise DataError(f"{where}: '{key}' is {show(value)}, but must be 0 or 1. {cure}")
    return bool(value)


def _file_name(entry: Any, where: str) -> str:
    name = _field(entry, "file_name", str, where)
    if not is_inside(name):
        raise DataError(f"{where}: file_name {show(name)} leaves its folder. Use a relative name without '..'.")
    return name


def entries_of(content: Any, key: str, path: Path) -> Sequence[Any]:
    """A list of a file's content.

    Raises:
        DataError: there is none.
    """
    if isinstance(content, dict) and isinstance(content.get(key), JsonList):
        return content[key]
    return _field(content, key, list, str(path))


def check_unique(ids: Iterable[int | str], what: str) -> None:
    """Raises `DataError` when an id comes twice."""
    seen: set[int | str] = set()
    for value in ids:
        if value in seen:
            raise DataError(f"{what} {show(value)} comes twice. {CURE}")
        seen.add(value)


def parse_category(entry: Any, where: str) -> Category:
    """One entry of `categories`; `DataError` names `where` when it cannot be used."""
    category_id = _field(entry, "id", int, where)
    if not 0 <= category_id <= LARGEST_ID:
        raise DataError(f"{where}: id {show(category_id)} is outside 0 to 2³¹ - 1. {CURE}")
    name = _text(entry, "name", where)
    isthing = _flag(entry, "isthing", where, ISTHING_CURE)
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
    if not size_is_usable(height, width):
        raise DataError(
            f"{where}: a size of {show(height)}×{show(width)} pixels; up to {MAX_MEGAPIXELS} million can be used. "
            f"{CURE}"
        )
    return ImageRecord(_image_id(entry, "id", where), _file_name(entry, where), (height, width))


def size_is_usable(height: int, width: int) -> bool:
    """Whether an image of so many pixels is read."""
    return height >= 1 and width >= 1 and height * width <= MAX_MEGAPIXELS * 10**6


def _image_id(entry: Any, key: str, where: str) -> int | str:
    image_id = _field(entry, key, (int, str), where)
    if not image_id_is_usable(image_id):
        raise DataError(f"{where}: '{key}' is {show(image_id)}, which names no image. {CURE}")
    return image_id


def image_id_is_usable(image_id: int | str) -> bool:
    """Whether it can name an image; Cityscapes' files are named after theirs: a text must not leave a folder."""
    return is_inside(image_id) if isinstance(image_id, str) else abs(image_id) < 2**63


def parse_annotation(entry: Any, where: str, positions: dict[int, int]) -> tuple[int | str, AnnotationRecord]:
    """One entry of `annotations` with its image's id; `positions` are those of the category ids.

    Raises:
        DataError: it cannot be used; the message names `where`.
    """
    image_id = _image_id(entry, "image_id", where)
    infos = _field(entry, "segments_info", list, where)
    segments = tuple(parse_segment(info, f"{where}: segments_info", positions) for info in infos)
    check_unique([segment.id for segment in segments], f"{where}: segment id")
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
