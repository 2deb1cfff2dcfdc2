"""Polygons in the form of Cityscapes: a JSON for each image, objects in the order of depth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cityscapesscripts.helpers.labels import name2label

from pisr_core.data.annotation_tools.regions import Outline
from pisr_core.data.annotation_tools.shapes import Drawing, Shape, pixels, with_any_ending

ENDINGS = ("_gtFine_polygons", "_gtCoarse_polygons", "_polygons")


def recognises(content: Any) -> bool:
    """Whether a JSON is one of polygons."""
    return isinstance(content, dict) and "imgHeight" in content and isinstance(content.get("objects"), list)


def read(content: Any, path: Path) -> Iterator[Drawing]:
    """The image of a file; `cargroup` is a crowd of cars. Without the images' own ending those of the file fit."""
    stem = next((path.stem.removesuffix(end) for end in ENDINGS if path.stem.endswith(end)), path.stem)
    names = with_any_ending(f"{stem}_leftImg8bit") + with_any_ending(stem)
    drawing = Drawing(path, names, pixels(content["imgHeight"], content["imgWidth"]))
    for entry in content["objects"]:
        if entry.get("deleted"):
            continue
        name, outline = entry["label"], Outline(entry["polygon"], (), "Pillow")
        single = name.removesuffix("group")
        if single != name and name not in name2label and single in name2label:
            drawing.shapes.append(Shape(single, outline, iscrowd=True))
        else:
            drawing.shapes.append(Shape(name, outline))
    yield drawing
