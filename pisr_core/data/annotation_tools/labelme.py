"""LabelMe: a JSON for each image."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from pisr_core.data.annotation_tools.regions import CocoRegion, Patch, ellipse, polygon, rectangle
from pisr_core.data.annotation_tools.shapes import Drawing, LabelledImage, LabelledSegment, Shape, pixels
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category

NO_REGION = ("point", "points", "line", "linestrip")
POLYGONS = ("polygon", "oriented_rectangle", "rotation")


def recognises(content: Any) -> bool:
    """Whether a JSON is one of LabelMe's."""
    return isinstance(content, dict) and "imagePath" in content and isinstance(content.get("shapes"), list)


def read(content: Any, path: Path) -> Iterator[Drawing]:
    """The image of a file; shapes of one class with the same `group_id` are one instance."""
    size = pixels(content["imageHeight"], content["imageWidth"]) if content.get("imageHeight") else None
    drawing = Drawing(path, (content["imagePath"],), size)
    for entry in content["shapes"]:
        kind = entry.get("shape_type") or "polygon"
        if kind in NO_REGION:
            drawing.left_out[kind] += 1
        else:
            drawing.shapes.append(Shape(entry["label"], _region(kind, entry), entry.get("group_id")))
    yield drawing


def _region(kind: str, entry: dict[str, Any]) -> CocoRegion | Patch:
    points = entry["points"]
    if kind == "mask":
        left, top = points[0]
        return Patch(entry["mask"], int(left), int(top))
    if kind == "circle":
        radius = math.dist(*points)
        return ellipse(points[0], (radius, radius))
    if kind == "rectangle" and len(points) == 2:
        return rectangle(*points)
    if kind in (*POLYGONS, "rectangle"):
        return polygon(points)
    raise ValueError(f"unknown shape_type {kind!r}")


def write(images: Iterable[LabelledImage], categories: tuple[Category, ...], out: Path) -> None:
    """A JSON for each image below `out/labelme`, with a mask for each segment."""
    folder = out / "labelme"
    for image in images:
        path = (folder / image.file_name).with_suffix(".json")
        content: dict[str, Any] = {
            "version": "5.5.0",  # since which there are masks
            "flags": {},
            "shapes": [_shape(segment) for segment in image.segments],
            "imagePath": Path(os.path.relpath(image.path, path.parent)).as_posix(),
            "imageData": None,
            "imageHeight": image.size[0],
            "imageWidth": image.size[1],
        }
        with written_whole(path, sync=False) as part:
            part.write_text(json.dumps(content), encoding="utf-8")


def _shape(segment: LabelledSegment) -> dict[str, Any]:
    left, top, width, height = segment.box
    return {
        "label": segment.name,
        "points": [[left, top], [left + width - 1, top + height - 1]],
        "group_id": None,
        "description": f"score {segment.score:.3f}",
        "shape_type": "mask",
        "flags": {},
        "mask": _png(segment),
    }


def _png(segment: LabelledSegment) -> str:
    file = io.BytesIO()
    Image.fromarray(segment.mask).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()
