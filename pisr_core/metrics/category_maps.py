"""Panoptic maps from what other libraries hold: the category id and the instance id of each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Integer

from pisr_core.errors import DataError
from pisr_core.structures import VOID_ID, Category, PanopticSegmentation, Segment


def as_maps(value: PanopticSegmentation | npt.ArrayLike, categories: Sequence[Category]) -> list[PanopticSegmentation]:
    """The maps of one image or of a batch.

    Args:
        value: a panoptic map; or an (H, W, 2) or (b, H, W, 2) array or tensor of category and instance ids.
        categories: the classes. Below zero a category id is void; instance ids of stuff do not matter.

    Raises:
        DataError: an array of another kind, or a category id that no class has.
    """
    if isinstance(value, PanopticSegmentation):
        return [value]
    ids = np.asarray(value.cpu() if hasattr(value, "cpu") else value)
    if ids.dtype.kind not in "iu" or ids.ndim not in (3, 4) or ids.shape[-1] != 2:
        raise DataError(
            f"a map of {ids.dtype} with shape {ids.shape}: give a PanopticSegmentation, or whole numbers of shape "
            "(H, W, 2) or (b, H, W, 2), the category id and the instance id of each pixel."
        )
    return [_map(image, categories) for image in ids.reshape(-1, *ids.shape[-3:])]


def _map(pairs: Integer[np.ndarray, "H W 2"], categories: Sequence[Category]) -> PanopticSegmentation:
    places = {category.id: place for place, category in enumerate(categories)}
    stuff = np.array([category.id for category in categories if not category.isthing], np.int64)
    of_category, of_instance = pairs.astype(np.int64).reshape(-1, 2).T
    counted = np.where((of_category < 0) | np.isin(of_category, stuff), 0, of_instance)
    found, owner = np.unique(np.stack([np.maximum(of_category, -1), counted]), axis=1, return_inverse=True)
    strange = sorted(set(found[0].tolist()) - places.keys() - {-1})
    if strange:
        raise DataError(f"category ids {strange[:5]} belong to no class. Write void as -1.")
    areas = np.bincount(owner.ravel(), minlength=found.shape[1]).tolist()
    numbers = np.where(found[0] < 0, VOID_ID, np.arange(1, found.shape[1] + 1)).astype(np.int32)
    segments = (
        Segment(number, places[category], area)
        for number, category, area in zip(numbers.tolist(), found[0].tolist(), areas, strict=True)
        if number != VOID_ID
    )
    return PanopticSegmentation(numbers[owner].reshape(pairs.shape[:2]), tuple(segments))
