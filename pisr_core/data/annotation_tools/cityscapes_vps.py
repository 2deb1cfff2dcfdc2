"""Films' maps as the evaluation of Cityscapes-VPS reads them: equal ids in several frames are the same thing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pisr_core.data.annotation_tools.shapes import LabelledImage
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.structures import Category, PanopticSegmentation, Segment


def write(images: Iterable[LabelledImage], categories: tuple[Category, ...], out: Path) -> None:
    """`out/pred.json` and `out/pan_pred/NAME.png`; a frame's id is its name without ending."""
    positions = {category.name: position for position, category in enumerate(categories)}
    with CocoPanopticWriter(out / "pred.json", out / "pan_pred", categories) as writer:
        for image in images:
            ids = np.zeros(image.size, np.int32)
            segments = []
            for segment in image.segments:
                left, top, width, height = segment.box
                ids[top : top + height, left : left + width][segment.mask] = segment.id
                area = int(segment.mask.sum())
                segments.append(Segment(segment.id, positions[segment.name], area, score=segment.score))
            panoptic = PanopticSegmentation(ids, tuple(segments))
            name = Path(image.file_name)
            writer.add(name.stem, name.name, panoptic)
