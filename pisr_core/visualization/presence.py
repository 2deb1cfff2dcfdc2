"""Which of a model's panoptic categories are there, by the annotation: what ω should keep (Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.visualization.stages import ImageMaps

MATCH = 0.5
"""IoU above which a map shows an annotated thing, as in PQ."""


@dataclass(frozen=True)
class Presence:
    """What an annotation says of an image's categories.

    Attributes:
        classes: of each of the model's, whether it is annotated.
        instances: of each map, the most confident first: `match`, `false` (a false or second centre) or `empty`.
    """

    classes: tuple[bool, ...]
    instances: tuple[str, ...]


def presence(
    maps: ImageMaps,
    categories: Sequence[Category],
    annotation: PanopticSegmentation,
    annotated: Sequence[Category],
) -> Presence:
    """Compares what the relation encodes with an annotation.

    Args:
        maps: of the image.
        categories: the model's.
        annotation: of the image, at its own size.
        annotated: the annotation's categories, whose names say which of the model's they are.
    """
    names = {annotated[segment.category].name for segment in annotation.segments}
    things = [s.id for s in annotation.segments if annotated[s.category].isthing and not s.iscrowd]
    kinds = instance_kinds(maps.encoded.instances.cpu(), on_grid(maps, annotation), things)
    return Presence(tuple(category.name in names for category in categories), tuple(kinds))


def on_grid(maps: ImageMaps, panoptic: PanopticSegmentation) -> Int[Tensor, "h w"]:
    """Segment ids at the middles of the cells of an image's maps, -1 in the network's padding."""
    height, width = maps.encoded.classes.shape[1:]
    cells = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=2).flatten(0, 1)
    points = np.rint(maps.at_image_points(cells)).astype(np.int64)
    rows, columns = points[:, 0], points[:, 1]
    inside = (rows < panoptic.ids.shape[0]) & (columns < panoptic.ids.shape[1])
    found = np.full(len(points), -1, np.int64)
    found[inside] = panoptic.ids[rows[inside].clip(0), columns[inside].clip(0)]
    return torch.from_numpy(found).view(height, width)


def instance_kinds(instances: Float[Tensor, "k h w"], truth: Int[Tensor, "h w"], things: Sequence[int]) -> list[str]:
    """`match`, `false` or `empty` of each instance map.

    A map, taken where it is at least 0.5, matches the thing that it overlaps by more than `MATCH`, if none before it
    has.

    Args:
        instances: I, the most confident first.
        truth: ids of segments.
        things: those of annotated things.
    """
    masks = (instances >= 0.5).flatten(1).float()
    wanted = (truth.flatten() == torch.tensor(things, dtype=truth.dtype)[:, None]).float()
    shared = masks @ wanted.T
    union = masks.sum(dim=1, keepdim=True) + wanted.sum(dim=1) - shared
    overlaps = shared / union.clamp(min=1)
    taken: set[int] = set()
    found = []
    for instance, row in zip(instances, overlaps, strict=True):
        if not instance.any():
            found.append("empty")
            continue
        best = int(row.argmax()) if len(row) else -1
        if best < 0 or best in taken or row[best] <= MATCH:
            found.append("false")
        else:
            taken.add(best)
            found.append("match")
    return found
