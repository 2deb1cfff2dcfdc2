"""What a dataset holds, class by class, and how its instances stand to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from pisr_core.data.checking.segments import SegmentShapes
from pisr_core.structures import Category

TINY_AREA = 16
"""Pixels of one cell of the stride-4 grid: a smaller instance may have no cell of its own."""

SMALL_AREA = 32**2
"""Below this many pixels COCO calls an object small."""


@dataclass
class ClassStatistics:
    """Counts of one class.

    Attributes:
        images: that have it.
        segments: of it, crowds too.
        crowds: segments of several instances.
        pixels: of all segments.
    """

    images: int = 0
    segments: int = 0
    crowds: int = 0
    pixels: int = 0


@dataclass
class DatasetStatistics:
    """Counts over all images whose PNG could be read; the lists hold a value for each image or segment.

    Attributes:
        categories: by id.
        classes: by category id.
        sizes: (H, W) of the images and how many have it.
        instance_areas: pixels of each thing segment that is no crowd.
        instances_per_image: their number in each image.
        center_distances: from each such instance to the centre nearest to its own, as (Euclidean, Chebyshev) pixels.
        stuff_shares: share of its image that each stuff segment covers.
        touching: pairs of instances of one class that share a border.
        void_pixels: pixels of no listed segment.
        pixels: all pixels.
    """

    categories: Mapping[int, Category]
    classes: dict[int, ClassStatistics] = field(init=False)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    instance_areas: list[int] = field(default_factory=list)
    instances_per_image: list[int] = field(default_factory=list)
    center_distances: list[tuple[float, float]] = field(default_factory=list)
    stuff_shares: list[float] = field(default_factory=list)
    touching: int = 0
    void_pixels: int = 0
    pixels: int = 0

    def __post_init__(self) -> None:
        self.classes = {category_id: ClassStatistics() for category_id in self.categories}

    def add(self, infos: Sequence[dict[str, Any]], shapes: SegmentShapes) -> None:
        """Counts one image.

        Args:
            infos: the usable entries of its `segments_info`.
            shapes: what its PNG holds.
        """
        rows = {segment_id: row for row, segment_id in enumerate(shapes.ids.tolist())}
        present = [info for info in infos if info["id"] in rows and info["category_id"] in self.categories]
        pixels = shapes.size[0] * shapes.size[1]
        instances = {}
        covered = 0
        for info in present:
            category_id, row = info["category_id"], rows[info["id"]]
            area, crowd = int(shapes.areas[row]), bool(info.get("iscrowd"))
            counts = self.classes[category_id]
            counts.segments += 1
            counts.crowds += crowd
            counts.pixels += area
            covered += area
            if not self.categories[category_id].isthing:
                self.stuff_shares.append(area / pixels)
            elif not crowd:
                instances[row] = category_id
                self.instance_areas.append(area)
        for category_id in {info["category_id"] for info in present}:
            self.classes[category_id].images += 1
        self.sizes[shapes.size] += 1
        self.pixels += pixels
        self.void_pixels += pixels - covered
        self.instances_per_image.append(len(instances))
        self.touching += _touching_of_one_class(shapes.touching, instances)
        self.center_distances += nearest_centers(shapes.centers[list(instances)])

    def to_json(self) -> dict[str, Any]:
        """The numbers for machines."""
        areas = np.array(self.instance_areas)
        distances = [euclidean for euclidean, _ in self.center_distances]
        return {
            "images": sum(self.sizes.values()),
            "void_share": self.void_pixels / self.pixels if self.pixels else None,
            "classes": [
                {"id": category.id, "name": category.name, "isthing": int(category.isthing), **vars(counts)}
                for category, counts in zip(self.categories.values(), self.classes.values(), strict=True)
            ],
            "instances": {
                "count": len(areas),
                "most_in_an_image": max(self.instances_per_image, default=0),
                "tiny": int((areas < TINY_AREA).sum()),
                "small": int((areas < SMALL_AREA).sum()),
                "touching_pairs_of_one_class": self.touching,
                "median_area": float(np.median(areas)) if len(areas) else None,
                "median_center_distance": float(np.median(distances)) if len(distances) else None,
            },
        }


def nearest_centers(centers: Float[np.ndarray, "k 2"]) -> list[tuple[float, float]]:
    """For each centre the distances to the one nearest to it, (Euclidean, Chebyshev); none for a single centre."""
    if len(centers) < 2:
        return []
    distances, neighbours = cKDTree(centers).query(centers, k=[2])
    chebyshev = np.abs(centers - centers[neighbours[:, 0]]).max(axis=1)
    return list(zip(distances[:, 0].tolist(), chebyshev.tolist(), strict=True))


def _touching_of_one_class(pairs: Int[np.ndarray, "t 2"], instances: Mapping[int, int]) -> int:
    pairs_as_lists: Iterable[list[int]] = pairs.tolist()
    return sum(first in instances and instances[first] == instances.get(second) for first, second in pairs_as_lists)
