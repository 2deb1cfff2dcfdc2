"""Label Studio: one JSON with the tasks of a project."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as xml

from pisr_core.data.annotation_tools.brush import BrushRegion, packed
from pisr_core.data.annotation_tools.regions import Region, ellipse, polygon, turned
from pisr_core.data.annotation_tools.shapes import Drawing, LabelledImage, LabelledSegment, Shape, pixels
from pisr_core.data.pictures.images import IMAGE_SUFFIXES
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category

UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
"""What Label Studio makes of the name of an uploaded file."""

FROM, TO = "segments", "image"
"""Names in the labelling configuration that fits the predictions."""


def recognises(content: Any) -> bool:
    """Whether a JSON is an export of Label Studio's."""
    return isinstance(content, list) and bool(content) and all(_is_task(task) for task in content)


def _is_task(task: Any) -> bool:
    return isinstance(task, dict) and isinstance(task.get("data"), dict) and "annotations" in task


def read(content: Any, path: Path) -> Iterator[Drawing]:
    """The tasks of a file that have an annotation: the one marked as ground truth, else the newest."""
    for task in content:
        done = [annotation for annotation in task["annotations"] if not annotation.get("was_cancelled")]
        if done:
            yield _drawing(task["data"], max(done, key=_rank)["result"], path)


def _rank(annotation: dict[str, Any]) -> tuple[bool, str]:
    return bool(annotation.get("ground_truth")), str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _drawing(data: dict[str, Any], results: list[dict[str, Any]], path: Path) -> Drawing:
    drawing = Drawing(path, _image_names(data), None)
    for result in results:
        value, kind = result.get("value", {}), result["type"]
        labels = next((labels for key, labels in value.items() if key.endswith("labels") and labels), None)
        if labels is None or "original_width" not in result:
            continue  # a choice, a text, or a shape that comes again with its label
        drawing.size = pixels(result["original_height"], result["original_width"])
        region = _region(value, drawing.size)
        if region is None:
            drawing.left_out[kind] += 1
        else:
            drawing.shapes.append(Shape(labels[0], region))
    return drawing


def _region(value: dict[str, Any], size: tuple[int, int]) -> Region | None:
    """Places are per cent of the image's sides; angles turn around a rectangle's upper left corner."""
    height, width = (side / 100 for side in size)
    if "rle" in value:
        return BrushRegion(tuple(value["rle"]))
    if "points" in value and value.get("closed", True):
        return polygon([(x * width, y * height) for x, y in value["points"]])
    if "radiusX" in value:
        radii = (value["radiusX"] * width, value["radiusY"] * height)
        return ellipse((value["x"] * width, value["y"] * height), radii, value.get("rotation", 0))
    if "width" in value and "height" in value:
        left, top = value["x"] * width, value["y"] * height
        right, bottom = left + value["width"] * width, top + value["height"] * height
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        return polygon(turned(corners, value.get("rotation", 0), (left, top)))
    return None


def _image_names(data: dict[str, Any]) -> tuple[str, ...]:
    """The name behind a task's address of its image, and what the file was called before its upload."""
    texts = [value for key, value in sorted(data.items(), key=lambda item: item[0] != "image") if type(value) is str]
    names = [_path_of(text) for text in texts]
    name = next((name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES), names[0])
    uploaded = UPLOADED.fullmatch(PurePosixPath(name).name)
    return (name, uploaded[1]) if uploaded else (name,)


def _path_of(address: str) -> str:
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")  # /data/local-files/?d=folder/image.jpg
    return local[0] if local else unquote(parts.path)


def write(images: Iterable[LabelledImage], categories: tuple[Category, ...], out: Path) -> None:
    """`out/label_studio.json`, tasks with predictions (brushes), and `out/label_studio.xml`, their configuration."""
    tasks = [_task(image) for image in images]
    with written_whole(out / "label_studio.json") as part:
        part.write_text(json.dumps(tasks), encoding="utf-8")
    view = xml.Element("View")
    xml.SubElement(view, "Image", name=TO, value="$image")
    labels = xml.SubElement(view, "BrushLabels", name=FROM, toName=TO)
    for category in categories:
        color = "#{:02x}{:02x}{:02x}".format(*category.color)
        xml.SubElement(labels, "Label", value=category.name, background=color)
    xml.indent(view)
    with written_whole(out / "label_studio.xml") as part:
        xml.ElementTree(view).write(part, encoding="utf-8")


def _task(image: LabelledImage) -> dict[str, Any]:
    results = [_result(number, segment, image.size) for number, segment in enumerate(image.segments)]
    score = min((segment.score for segment in image.segments), default=0.0)
    return {
        "data": {"image": f"/data/local-files/?d={image.file_name}"},
        "predictions": [{"model_version": "pisr", "score": score, "result": results}],
    }


def _result(number: int, segment: LabelledSegment, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": f"segment{number}",
        "type": "brushlabels",
        "from_name": FROM,
        "to_name": TO,
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "score": segment.score,
        "value": {"format": "rle", "rle": packed(segment.whole_mask(size)), "brushlabels": [segment.name]},
    }
