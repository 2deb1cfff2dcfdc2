"""A few of many, and which come more often."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from pisr_core import structures  # not the name itself, which needs torch

T = TypeVar("T")

COUNTED_IMAGES = 500
"""Images at most in which pixels and segments are counted."""


def spread_over(items: Sequence[T], most: int) -> list[T]:
    """All items, or `most` of them from the first to the last in equal steps."""
    if len(items) <= most:
        return list(items)
    return [items[round(step * (len(items) - 1) / (most - 1))] for step in range(most)]


def repeat_factors(classes: Sequence[Iterable[int]], threshold: float) -> Float[np.ndarray, " images"]:
    """How often each image comes in an epoch, on average (Gupta et al., LVIS, CVPR 2019, Sec. B).

    A class that the share f of the images have gets max(1, √(threshold / f)); an image the highest of its classes.

    Args:
        classes: of each image.
        threshold: the share below which a class counts as rare.
    """
    present = [set(of_image) for of_image in classes]
    images = Counter(category for of_image in present for category in of_image)
    factors = {category: max(1.0, math.sqrt(threshold * len(present) / count)) for category, count in images.items()}
    return np.array([max((factors[category] for category in of_image), default=1.0) for of_image in present])


def balanced_weights(dataset: structures.PanopticDataset, by_segments: bool) -> dict[str, float]:
    """Factors by name with which all classes weigh the same: all / (classes · those of the class).

    They are counted in up to `COUNTED_IMAGES` training images, spread over the dataset. Classes that these do not have
    get 1.

    Args:
        dataset: annotated samples.
        by_segments: count segments, not pixels.
    """
    counts: Int[np.ndarray, " classes"] = np.zeros(len(dataset.categories), np.int64)
    for index in spread_over(range(len(dataset)), COUNTED_IMAGES):
        panoptic = dataset[index].panoptic
        for segment in panoptic.segments if panoptic else ():
            counts[segment.category] += 1 if by_segments else segment.area
    seen = int((counts > 0).sum())
    return {
        category.name: float(f"{counts.sum() / (seen * count):.4g}") if count else 1.0
        for category, count in zip(dataset.categories, counts.tolist(), strict=True)
    }
