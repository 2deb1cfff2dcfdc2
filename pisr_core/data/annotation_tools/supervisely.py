"""Supervisely: a JSON for each image, `ann/NAME.json` beside `img/NAME`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pisr_core.data.annotation_tools.regions import Outline, Patch, Region
from pisr_core.data.annotation_tools.shapes import Drawing, Shape, pixels


def recognises(content: Any) -> bool:
    """Whether a JSON is one of Supervisely's annotations."""
    return isinstance(content, dict) and isinstance(content.get("size"), dict) and "objects" in content


def read(content: Any, path: Path) -> Iterator[Drawing]:
    """The image of a file."""
    size = pixels(content["size"]["height"], content["size"]["width"])
    name = path.name.removesuffix(".json")
    # A project holds folders of images of their own.
    drawing = Drawing(path, (f"{path.parent.parent.name}/img/{name}",), size)
    for entry in content["objects"]:
        region = _region(entry)
        if region is None:
            drawing.left_out[entry["geometryType"]] += 1
        else:
            drawing.shapes.append(Shape(entry["classTitle"], region))
    yield drawing


def _region(entry: dict[str, Any]) -> Region | None:
    """Points are pixels; the last row and column of a rectangle belong to it."""
    kind = entry["geometryType"]
    if kind == "bitmap":
        left, top = entry["bitmap"]["origin"]
        return Patch(entry["bitmap"]["data"], left, top, deflated=True)
    if kind == "polygon":
        return Outline(entry["points"]["exterior"], entry["points"].get("interior", []), "OpenCV")
    if kind == "rectangle":
        (left, top), (right, bottom) = entry["points"]["exterior"]
        return Outline([(left, top), (right, top), (right, bottom), (left, bottom)], [], "OpenCV")
    return None
