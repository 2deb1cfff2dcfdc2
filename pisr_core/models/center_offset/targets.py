"""What Panoptic-DeepLab learns from, drawn from an annotation (Cheng et al., CVPR 2020, Sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pisr_core.config import TargetConfig
from pisr_core.models.center_offset.structures import CenterOffsetTargets
from pisr_core.pixel_runs import Runs, find_runs
from pisr_core.structures import IGNORE_INDEX, PanopticSegmentation, ignore_index


class CenterOffsetTargetGenerator:
    """Turns panoptic annotations into the targets of the semantic, centre and offset heads.

    Args:
        config: Gaussian width and loss weights.
        thing_ids: positions of the thing classes.
        num_classes: of the dataset.
    """

    def __init__(self, config: TargetConfig, thing_ids: Sequence[int], num_classes: int = IGNORE_INDEX) -> None:
        self.config = config
        self.thing_ids = tuple(thing_ids)
        self.ignore_index = ignore_index(num_classes)
        radius = gaussian_radius(config.sigma)
        distance = np.arange(-radius, radius + 1, dtype=np.float64)
        squares = distance[:, None] ** 2 + distance[None, :] ** 2
        self._gaussian = np.exp(-squares / (2 * config.sigma**2)).astype(np.float32)

    def __call__(self, panoptic: PanopticSegmentation) -> CenterOffsetTargets:
        """Targets of one image, (…, H, W) without a batch dimension.

        Every segment of a thing class, crowds too, gives a centre and offsets; weights may leave crowds out.
        Segments without pixels give nothing.
        """
        config = self.config
        runs = find_runs(panoptic.ids)
        owner = panoptic.positions(runs)
        classes = np.array([s.category for s in panoptic.segments] + [self.ignore_index], dtype=np.int64)
        crowd = np.array([s.iscrowd for s in panoptic.segments] + [False])
        thing = np.isin(classes, self.thing_ids)
        void = np.arange(len(classes)) == len(classes) - 1

        areas = np.bincount(owner, runs.areas, minlength=len(classes))
        centers = mass_centers(runs, owner, areas)
        instance = thing & (areas > 0)
        small = thing & (areas < config.small_instance_area)
        unlabelled = void | crowd if config.ignore_crowd_in_semantic else void
        counted = ~void & ~crowd if config.ignore_crowd_in_instances else ~void
        moving = counted & thing if config.ignore_stuff_in_offset else counted

        def spread(values: np.ndarray) -> Tensor:
            """A value per segment → one per pixel."""
            return torch.from_numpy(runs.paint(values[owner]))

        return CenterOffsetTargets(
            semantic=spread(np.where(unlabelled, self.ignore_index, classes)),
            semantic_weight=spread(np.where(small, config.small_instance_weight, 1).astype(np.float32)),
            center=torch.from_numpy(self._heatmap(centers[instance], runs.shape)),
            center_weight=spread(counted.astype(np.float32))[None],
            offset=torch.from_numpy(center_offsets(runs, owner, centers, instance)),
            offset_weight=spread(moving.astype(np.float32))[None],
        )

    def _heatmap(self, centers: Float[np.ndarray, "k 2"], shape: tuple[int, ...]) -> Float[np.ndarray, "1 H W"]:
        """Gaussians around the centres, each drawn in its window only; the highest counts where they meet."""
        height, width = shape
        radius = gaussian_radius(self.config.sigma)
        heatmap = np.zeros((1, height, width), dtype=np.float32)
        for y, x in np.rint(centers).astype(int).tolist():
            top, left = max(0, y - radius), max(0, x - radius)
            window = heatmap[0, top : y + radius + 1, left : x + radius + 1]
            rows, columns = window.shape
            first_row, first_column = top - y + radius, left - x + radius
            stamp = self._gaussian[first_row : first_row + rows, first_column : first_column + columns]
            np.maximum(window, stamp, out=window)
        return heatmap


def gaussian_radius(sigma: float) -> int:
    """Pixels from a centre's Gaussian's peak to the edge of its window, ⌊3σ + 1⌋."""
    return int(3 * sigma + 1)


def mass_centers(runs: Runs, owner: Int[np.ndarray, " i"], areas: Float[np.ndarray, " s"]) -> Float[np.ndarray, "s 2"]:
    """Mean (y, x) of each segment's pixels; zero for segments without any.

    Args:
        runs: of the map.
        owner: the segment of each of its ids.
        areas: pixels of each segment.
    """
    rows, lefts = runs.places
    sums = rows * runs.lengths, (2 * lefts + runs.lengths - 1) * runs.lengths // 2
    of_segments = [np.bincount(owner[runs.owner], of_runs, minlength=len(areas)) for of_runs in sums]
    return np.stack(of_segments, axis=1) / np.maximum(areas, 1)[:, None]


def center_offsets(
    runs: Runs, owner: Int[np.ndarray, " i"], centers: Float[np.ndarray, "s 2"], instance: Bool[np.ndarray, " s"]
) -> Float[np.ndarray, "2 H W"]:
    """(y, x) in pixels from each instance's pixels to its centre, float32; zero elsewhere."""
    offsets = np.zeros((2, *runs.shape), dtype=np.float32)
    inside = runs.paint(instance[owner])
    for axis, position in enumerate(np.ogrid[: runs.shape[0], : runs.shape[1]]):
        center = runs.paint(centers[owner, axis])
        np.subtract(center, position, out=offsets[axis], where=inside, casting="same_kind")
    return offsets
