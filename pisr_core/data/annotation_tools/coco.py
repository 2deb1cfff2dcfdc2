"""COCO's instances, as annotation tools write them: things and stuff in one JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pisr_core.data.annotation_tools.outlines import outlines
from pisr_core.data.annotation_tools.regions import CocoRegion
from pisr_core.data.annotation_tools.shapes import Drawing, LabelledImage, LabelledSegment, Shape, pixels
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category


def recognises(content: Any) -> bool:
    """Whether a JSON is one of COCO's instances."""
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        return False
    return not any(isinstance(entry, dict) and "segments_info" in entry for entry in content["annotations"][:1])


def read(content: Any, path: Path) -> Iterator[Drawing]:
    """The images of a file. `iscrowd` says nothing here: CVAT and Datumaro set it for every mask."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    entries = defaultdict(list)
    for entry in content["annotations"]:
        entries[entry["image_id"]].append(entry)
    for image in content["images"]:
        drawing = Drawing(path, (image["file_name"],), pixels(image["height"], image["width"]))
        for entry in entries.pop(image["id"], ()):
            if entry.get("segmentation"):
                drawing.shapes.append(Shape(names[entry["category_id"]], CocoRegion(entry["segmentation"])))
            else:
                drawing.left_out["box without a mask" if "bbox" in entry else "keypoints"] += 1
        yield drawing
    if entries:
        raise ValueError(f"an annotation has the unknown image_id {next(iter(entries))!r}")


def write(images: Iterable[LabelledImage], categories: tuple[Category, ...], out: Path) -> None:
    """`out/instances.json` with the things and `out/stuff.json` with the stuff.

    Masks are polygons; of those with holes, which COCO's polygons cannot have, run lengths.
    """
    records: list[dict[str, Any]] = []
    annotations: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    ids = {category.name: category.id for category in categories}
    for number, image in enumerate(images, start=1):
        height, width = image.size
        records.append({"id": number, "file_name": image.file_name, "height": height, "width": width})
        for segment in image.segments:
            of_kind = annotations[segment.isthing]
            entry = {"id": len(of_kind) + 1, "image_id": number, "category_id": ids[segment.name], "iscrowd": 0}
            of_kind.append(entry | _mask_entry(segment, image.size))
    for name, isthing in (("instances", True), ("stuff", False)):
        classes = [
            {"id": category.id, "name": category.name, "supercategory": category.supercategory}
            for category in categories
            if category.isthing == isthing
        ]
        content = {"images": records, "annotations": annotations[isthing], "categories": classes}
        with written_whole(out / f"{name}.json") as part:
            part.write_text(json.dumps(content), encoding="utf-8")


def _mask_entry(segment: LabelledSegment, size: tuple[int, int]) -> dict[str, Any]:
    found = outlines(segment.mask)
    segmentation: Any = [(ring + (segment.left, segment.top)).ravel().tolist() for ring in found.outer]
    if found.holes:
        encoded = coco_mask.encode(np.asfortranarray(segment.whole_mask(size), np.uint8))
        segmentation = {"size": list(size), "counts": encoded["counts"].decode("ascii")}
    area = int(segment.mask.sum())
    return {"segmentation": segmentation, "area": area, "bbox": list(segment.box), "score": segment.score}
