"""A panoptic JSON read entry by entry: what the strict reader would stop at is noted, and the rest goes on."""

from __future__ import annotations

import marshal
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisr_core.data.checking.findings import Finding, Kind
from pisr_core.data.checking.reading.isthing import segments_isthing, settled_isthing
from pisr_core.data.coco.entries import (
    ISTHING_CURE,
    is_inside,
    parse_annotation,
    parse_category,
    parse_image,
    parse_segment,
)
from pisr_core.data.coco.json_files import CURE, JsonList, load_json_lists
from pisr_core.data.coco.tables import ImageRecord
from pisr_core.errors import DataError
from pisr_core.structures import MOST_CLASSES, Category


@dataclass(frozen=True)
class AnnotationEntry:
    """A usable entry of `annotations`.

    Attributes:
        position: in the JSON's list.
        image_id: of its image.
        file_name: the PNG's path in its folder.
        packed: its `infos`; so many dictionaries would take ten times the memory of the file.
        unusable_ids: the segment ids of the other entries.
    """

    position: int
    image_id: int | str
    file_name: str
    packed: bytes
    unusable_ids: frozenset[int]

    @classmethod
    def of(
        cls,
        position: int,
        image_id: int | str,
        file_name: str,
        infos: Sequence[dict[str, Any]],
        listed_ids: Iterable[int],
    ) -> AnnotationEntry:
        """From the usable entries of `segments_info` and the ids of all of them."""
        unusable = frozenset(listed_ids).difference(info["id"] for info in infos)
        return cls(position, image_id, file_name, marshal.dumps(tuple(infos)), unusable)

    @property
    def infos(self) -> tuple[dict[str, Any], ...]:
        """The usable entries of its `segments_info`, as they are in the JSON."""
        return marshal.loads(self.packed)

    @property
    def listed_ids(self) -> frozenset[int]:
        """The segment ids of all entries, usable or not."""
        return self.unusable_ids.union(info["id"] for info in self.infos)


class PanopticEntries:
    """The usable entries of a panoptic JSON and the faults of the others.

    The single entries go through the parsers that training uses, so that both agree on what is usable.

    Args:
        path: the JSON.
        split: the split's name, for the findings.

    Attributes:
        content: the JSON as it is.
        categories: by id.
        images: by position, ids that came before left out.
        annotations: one for each image id.
        image_names: every file name of `images`, usable or not.
        png_names: every file name of `annotations`.
        annotated: every image id that `annotations` names.
        findings: the faults.
    """

    def __init__(self, path: Path, split: str) -> None:
        self.path = path
        self.split = split
        self.content: Any = {}
        self.categories: dict[int, Category] = {}
        self.images: dict[int, ImageRecord] = {}
        self.annotations: dict[int | str, AnnotationEntry] = {}
        self.image_names: set[str] = set()
        self.png_names: set[str] = set()
        self.annotated: set[int | str] = set()
        self.findings: list[Finding] = []
        self._known_categories: dict[int, int] = {}
        self._known_images: set[int | str] = set()
        odd_numbers: list[str] = []

        def odd_number(name: str) -> float:
            odd_numbers.append(name)
            return float(name)

        try:
            self.content = load_json_lists(path, odd_number)
        except DataError as error:
            self._add(Kind.JSON_BROKEN, str(error).removeprefix(f"{path}: "))
            return
        for key in ("categories", "images", "annotations"):
            if not isinstance(self.content, dict) or not isinstance(self.content.get(key), list | JsonList):
                self._add(Kind.JSON_BROKEN, f"its list '{key}' is missing")
        if self.findings:
            return
        if odd_numbers:
            for place in _odd_numbers(self.content):
                self._add(Kind.NUMBER_INVALID, place)
        self._read_categories()
        self._read_images()
        self._read_annotations()
        self.image_names = {str(name) for name in self._values("images", "file_name")}
        self.png_names = {str(name) for name in self._values("annotations", "file_name")}
        self.annotated = {value for value in self._values("annotations", "image_id") if isinstance(value, int | str)}

    def _add(self, kind: Kind, detail: str, key: str = "", position: int = 0) -> None:
        entry = (key, position) if key else None
        self.findings.append(Finding(kind, self.split, str(self.path), detail, entry))

    def _values(self, key: str, name: str) -> Iterator[Any]:
        """What the entries of a list say under a name, usable or not."""
        yield from (entry[name] for entry in self.content[key] if isinstance(entry, dict) and name in entry)

    def _read_categories(self) -> None:
        entries = self.content["categories"]
        self._known_categories = {value: 0 for value in self._values("categories", "id") if isinstance(value, int)}
        names: dict[str, int] = {}
        of_segments = segments_isthing(self.content["annotations"])
        for position, entry in enumerate(entries):
            where = f"categories[{position}]"
            settled = settled_isthing(entry, of_segments)
            if settled is not None:
                detail = f"{where} ({entry.get('name')}): {entry.get('isthing')!r} must be {settled}"
                self._add(Kind.ISTHING_ODD, detail, "categories", position)
                entry = entry | {"isthing": settled}
            try:
                category = parse_category(entry, where)
            except DataError as error:
                self._add_broken(error, "categories", position)
                continue
            if category.id in self.categories:
                self._add(Kind.ID_REPEATED, f"{where}: id {category.id}", "categories", position)
            elif category.name in names:
                other = names[category.name]
                self._add(Kind.NAME_REPEATED, f"categories {other} and {category.id} are both {category.name!r}")
            self.categories.setdefault(category.id, category)
            names.setdefault(category.name, category.id)
        if not 1 <= len(entries) <= MOST_CLASSES:
            self._add(Kind.SPLIT_EMPTY, f"{len(entries)} categories; from 1 to {MOST_CLASSES} can be used")

    def _read_images(self) -> None:
        entries = self.content["images"]
        known = self._values("images", "id")
        self._known_images = {value for value in known if isinstance(value, int | str)}
        ids: set[int | str] = set()
        users: dict[str, list[int | str]] = defaultdict(list)
        for position, entry in enumerate(entries):
            try:
                image = parse_image(entry, f"images[{position}]")
            except DataError as error:
                self._add_broken(error, "images", position, entry)
                continue
            if image.id in ids:
                self._add(Kind.ID_REPEATED, f"images[{position}]: id {image.id!r}", "images", position)
                continue
            ids.add(image.id)
            users[image.file_name].append(image.id)
            self.images[position] = image
        self._add_shared_names(users, "images")
        if not entries:
            self._add(Kind.SPLIT_EMPTY, "its list of images is empty")

    def _read_annotations(self) -> None:
        users: dict[str, list[int | str]] = defaultdict(list)
        for position, entry in enumerate(self.content["annotations"]):
            annotation = self._annotation(entry, position)
            if annotation is None:
                continue
            where = f"annotations[{position}] ({annotation.file_name})"
            if annotation.image_id in self.annotations:
                detail = f"{where}: a second annotation of image {annotation.image_id!r}"
                self._add(Kind.ID_REPEATED, detail, "annotations", position)
                continue
            if annotation.image_id not in self._known_images:
                detail = f"{where}: image_id {annotation.image_id!r}"
                self._add(Kind.ANNOTATION_ORPHAN, detail, "annotations", position)
            users[annotation.file_name].append(annotation.image_id)
            self.annotations[annotation.image_id] = annotation
        self._add_shared_names(users, "annotations")
        if self.images and self.categories and not self.content["annotations"]:
            self._add(Kind.SPLIT_EMPTY, "no image has an annotation")

    def _annotation(self, entry: Any, position: int) -> AnnotationEntry | None:
        """The entry with those of its segments that can be used."""
        where = f"annotations[{position}]"
        try:
            image_id, record = parse_annotation(entry, where, self._known_categories)
            infos = entry["segments_info"]
        except DataError as error:
            if not isinstance(entry, dict) or not isinstance(entry.get("segments_info"), list):
                self._add_broken(error, "annotations", position, entry)
                return None
            infos = self._usable_segments(entry, position)
            try:
                image_id, record = parse_annotation(entry | {"segments_info": infos}, where, self._known_categories)
            except DataError as frame_error:
                self._add_broken(frame_error, "annotations", position, entry)
                return None
        listed = (info["id"] for info in entry["segments_info"] if isinstance(info, dict) and _is_id(info))
        return AnnotationEntry.of(position, image_id, record.file_name, infos, listed)

    def _usable_segments(self, entry: dict[str, Any], position: int) -> list[dict[str, Any]]:
        usable: dict[int, dict[str, Any]] = {}
        for number, info in enumerate(entry["segments_info"]):
            where = f"annotations[{position}] ({entry.get('file_name')}): segments_info[{number}]"
            try:
                segment = parse_segment(info, where, self._known_categories)
            except DataError as error:
                if self._category_is_unknown(info):
                    detail = f"{where}: category_id {info['category_id']}"
                    self._add(Kind.CATEGORY_UNKNOWN, detail, "annotations", position)
                else:
                    self._add_broken(error, "annotations", position)
                continue
            if segment.id in usable:
                self._add(Kind.ID_REPEATED, f"{where}: segment id {segment.id}", "annotations", position)
            usable.setdefault(segment.id, info)
        return list(usable.values())

    def _category_is_unknown(self, info: Any) -> bool:
        return (
            isinstance(info, dict) and _is_id(info, "category_id") and info["category_id"] not in self._known_categories
        )

    def _add_broken(self, error: DataError, key: str, position: int, entry: Any = None) -> None:
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if isinstance(name, str) and not is_inside(name):
            self._add(Kind.NAME_OUTSIDE, f"{key}[{position}]: {name!r}", key, position)
        else:
            named = f" ({name})" if isinstance(name, str) else ""
            reason = str(error).removesuffix(f" {CURE}").removesuffix(f" {ISTHING_CURE}")
            self._add(Kind.ENTRY_BROKEN, reason + named, key, position)

    def _add_shared_names(self, users: dict[str, list[int | str]], key: str) -> None:
        for name, ids in users.items():
            if len(ids) > 1:
                self._add(Kind.NAME_REPEATED, f"{key} of the image ids {ids[:5]} all name {name}")


def _is_id(entry: dict[str, Any], key: str = "id") -> bool:
    return isinstance(entry.get(key), int) and not isinstance(entry[key], bool)


def _odd_numbers(value: Any, place: str = "") -> Iterator[str]:
    """Where NaN and infinite numbers stand, as `annotations[3].score`."""
    parts: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        parts = ((f"{place}.{key}" if place else str(key), part) for key, part in value.items())
    elif isinstance(value, list):
        parts = ((f"{place}[{position}]", part) for position, part in enumerate(value))
    elif isinstance(value, float) and not math.isfinite(value):
        yield place
    for name, part in parts:
        yield from _odd_numbers(part, name)
