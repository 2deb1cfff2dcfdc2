"""Datumaro: a JSON for each subset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pisr_core.data.annotation_tools.regions import CocoRegion, Region, ellipse, rectangle
from pisr_core.data.annotation_tools.shapes import Drawing, Shape, pixels, with_any_ending

NO_SHAPES = ("label", "caption")
"""What is said of the whole image."""


def recognises(content: Any) -> bool:
    """Whether a JSON is one of Datumaro's."""
    return isinstance(content, dict) and isinstance(content.get("items"), list) and "categories" in content


def read(content: Any, path: Path) -> Iterator[Drawing]:
    """The images of a file; shapes of one class in one group are one instance, and `z_order` is the level."""
    names = [label["name"] for label in content["categories"]["label"]["labels"]]
    for item in content["items"]:
        image = item.get("image") or {}
        size = image.get("size")
        names_of_image = (image["path"],) if image.get("path") else with_any_ending(item["id"])
        drawing = Drawing(path, names_of_image, None if size is None else pixels(*size))
        for entry in item["annotations"]:
            region = _region(entry)
            if region is not None:
                shape = Shape(names[entry["label_id"]], region, entry.get("group") or None, entry.get("z_order", 0))
                drawing.shapes.append(shape)
            elif entry["type"] not in NO_SHAPES:
                drawing.left_out[entry["type"]] += 1
        yield drawing


def _region(entry: dict[str, Any]) -> Region | None:
    kind = entry["type"]
    if kind == "polygon":
        return CocoRegion([entry["points"]])
    if kind == "mask":
        return CocoRegion(entry["rle"])
    if kind == "bbox":
        left, top, width, height = entry["bbox"]
        return rectangle((left, top), (left + width, top + height))
    if kind == "ellipse":
        left, top, right, bottom = entry["points"]
        return ellipse(((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2))
    return None
