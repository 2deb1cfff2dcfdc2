"""YOLO's segmentation format: a text for each image, a line for each thing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pisr_core.data.annotation_tools.outlines import joined, outlines
from pisr_core.data.annotation_tools.shapes import LabelledImage, LabelledSegment
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category


def write(images: Iterable[LabelledImage], categories: tuple[Category, ...], out: Path) -> None:
    """`out/yolo/labels/train/*.txt`, `train.txt` and `data.yaml`; stuff is left out, of which the format knows nothing.

    A line is the class and the corners of one ring as shares of the image's sides. Parts and holes are joined to it
    by bridges of no width.
    """
    folder, names = out / "yolo", [category.name for category in categories if category.isthing]
    listed = []
    for image in images:
        lines = [
            f"{names.index(segment.name)} {_ring(segment, image.size)}\n"
            for segment in image.segments
            if segment.isthing
        ]
        with written_whole((folder / "labels/train" / image.file_name).with_suffix(".txt"), sync=False) as part:
            part.write_text("".join(lines), encoding="utf-8")
        listed.append(f"images/train/{image.file_name}\n")
    with written_whole(folder / "train.txt") as part:
        part.write_text("".join(listed), encoding="utf-8")
    classes = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))  # a JSON text is YAML
    with written_whole(folder / "data.yaml") as part:
        part.write_text(f"path: .\ntrain: train.txt\nval: train.txt\nnames:\n{classes}", encoding="utf-8")


def _ring(segment: LabelledSegment, size: tuple[int, int]) -> str:
    found = outlines(segment.mask)
    corners = joined([*found.outer, *found.holes]) + (segment.left, segment.top)
    shares = corners / np.array([size[1], size[0]])
    return " ".join(f"{share:.7g}" for share in shares.ravel())
