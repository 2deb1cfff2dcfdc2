"""A new JSON without the faults that can be mended without asking anyone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pisr_core.data.checking.findings import Finding, Kind
from pisr_core.data.checking.inspection import Inspection
from pisr_core.data.checking.reading.entries import PanopticEntries
from pisr_core.data.checking.segments import SegmentShapes

USELESS_IMAGES = (Kind.IMAGE_MISSING, Kind.PNG_MISSING, Kind.ANNOTATION_MISSING)
"""Images with these leave the JSON, and their annotation with them."""

KEYS = {"images": "id", "categories": "id", "annotations": "image_id"}
"""What each list's entries are known by."""


class Mender:
    """Mends the JSON of one split; the files on the disk and the content that was read stay as they are.

    Counted anew: areas, boxes, `isthing` of segments (from the category), and an image's size where image and PNG
    agree. Written anew: `isthing` of categories and file names where it is clear what they shall be. Dropped: segments
    without pixels, entries that copy another exactly, images without file, PNG or annotation, and
    annotations without image. All else needs a person.

    Args:
        entries: the JSON.
        findings: all that was found in the split.
        inspections: what was seen of each image, by its position in the JSON.
        names: better file names by (list, position).

    Attributes:
        changes: how often each change was made.
    """

    def __init__(
        self,
        entries: PanopticEntries,
        findings: Iterable[Finding],
        inspections: Mapping[int, Inspection],
        names: Mapping[tuple[str, int], str],
    ) -> None:
        self.entries = entries
        self._names = names
        self.changes: Counter[str] = Counter()
        self._found: dict[tuple[str, int], set[Kind]] = {}
        for finding in findings:
            if finding.entry is not None:
                self._found.setdefault(finding.entry, set()).add(finding.kind)
        self._inspections = inspections
        self._inspection_of = {
            image.id: inspections[position] for position, image in entries.images.items() if position in inspections
        }
        self._useless_ids = {
            self._image_id(*entry) for entry, kinds in self._found.items() if kinds & {*USELESS_IMAGES}
        }

    def mended(self) -> dict[str, Any]:
        """The content of the new JSON."""
        content = self.entries.content
        lists = {key: self._kept(key) for key in KEYS}
        return content | {
            "categories": [self._category(position, entry) for position, entry in lists["categories"]],
            "images": [self._image(position, self._named("images", position, e)) for position, e in lists["images"]],
            "annotations": [
                self._annotation(position, self._named("annotations", position, entry))
                for position, entry in lists["annotations"]
            ],
        }

    def _category(self, position: int, entry: Any) -> Any:
        if Kind.ISTHING_ODD not in self._found.get(("categories", position), set()):
            return entry
        self.changes["categories: isthing written"] += 1
        return entry | {"isthing": int(self.entries.categories[entry["id"]].isthing)}

    def _named(self, key: str, position: int, entry: Any) -> Any:
        """The entry with the file name that leads to its file."""
        name = self._names.get((key, position))
        if name is None:
            return entry
        self.changes[f"{key}: file names corrected"] += 1
        return entry | {"file_name": name}

    def _image_id(self, key: str, position: int) -> Any:
        return self.entries.content[key][position].get(KEYS[key])

    def _kept(self, key: str) -> list[tuple[int, Any]]:
        """The entries of a list that stay, with their positions."""
        kept = []
        first: dict[Any, Any] = {}
        for position, entry in enumerate(self.entries.content[key]):
            value = entry.get(KEYS[key]) if isinstance(entry, dict) else None
            known = first.setdefault(value, entry) if isinstance(value, int | str) else entry
            found = self._found.get((key, position), set())
            if known is not entry and known == entry:
                self.changes[f"{key}: exact copies dropped"] += 1
            elif key != "categories" and value is not None and value in self._useless_ids:
                self.changes[f"{key}: of images without file, PNG or annotation, dropped"] += 1
            elif Kind.ANNOTATION_ORPHAN in found:
                self.changes["annotations: of no image, dropped"] += 1
            else:
                kept.append((position, entry))
        return kept

    def _image(self, position: int, entry: Any) -> Any:
        """The entry with the size that image and PNG have, where they agree."""
        seen = self._inspections.get(position)
        if seen is None or seen.shapes is None or seen.image_size != seen.shapes.size:
            return entry
        height, width = seen.shapes.size
        if (entry["height"], entry["width"]) == (height, width):
            return entry
        self.changes["images: sizes corrected"] += 1
        return entry | {"height": height, "width": width}

    def _annotation(self, position: int, entry: Any) -> Any:
        image_id = entry.get("image_id") if isinstance(entry, dict) else None
        annotation = self.entries.annotations.get(image_id) if isinstance(image_id, int | str) else None
        if annotation is None or annotation.position != position:
            return entry
        seen = self._inspection_of.get(annotation.image_id)
        if seen is None or seen.shapes is None:
            return entry
        return entry | {"segments_info": self._segments(entry["segments_info"], seen.shapes)}

    def _segments(self, infos: list[Any], shapes: SegmentShapes) -> list[Any]:
        rows = {segment_id: row for row, segment_id in enumerate(shapes.ids.tolist())}
        kept: list[Any] = []
        for number, info in enumerate(infos):
            segment_id = info.get("id") if isinstance(info, dict) else None
            if not isinstance(segment_id, int):
                kept.append(info)
            elif info in infos[:number] or segment_id not in rows:
                self.changes["segments: copies and those without pixels dropped"] += 1
            else:
                row = rows[segment_id]
                kept.append(self._segment(info, int(shapes.areas[row]), shapes.boxes[row].tolist()))
        return kept

    def _segment(self, info: dict[str, Any], area: int, box: list[int]) -> dict[str, Any]:
        true = {"area": area, "bbox": box}
        category = self.entries.categories.get(info.get("category_id", -1))
        if category is not None and "isthing" in info:
            true["isthing"] = int(category.isthing)
        wrong = {key: value for key, value in true.items() if info.get(key) != value}
        for key in wrong:
            self.changes[f"segments: {key} corrected"] += 1
        return info | wrong
