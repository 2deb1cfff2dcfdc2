"""A whole JSON in COCO's format of instances, checked; its entries stay in the file until an image is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Int

from pisr_core.data.coco.entries import entries_of, parse_category, show
from pisr_core.data.coco.json_files import load_json_lists, portions, typed
from pisr_core.data.coco.panoptic_json import read_images
from pisr_core.data.coco.tables import ImageTable
from pisr_core.errors import DataError
from pisr_core.structures import Category

CURE = "Mend the file or export it again in COCO's format of instances."


class InstanceEntry(msgspec.Struct, gc=False):
    """What is read of an entry of `annotations` when the file is opened."""

    image_id: int | str
    category_id: int
    segmentation: msgspec.Raw


@dataclass(frozen=True)
class CocoFile:
    """A JSON of instances or of stuff. All of it can be pickled, without the entries.

    Attributes:
        path: the file.
        categories: by id.
        images: in the file's order.
    """

    path: Path
    categories: tuple[Category, ...]
    images: ImageTable
    _annotations: Sequence[Any]
    """Of all images."""
    _order: Int[np.ndarray, " annotations"]
    """Their places, image after image."""
    _bounds: Int[np.ndarray, " images_and_one"]
    """Where in that order each image's begin."""

    def entries(self, image_id: int | str) -> list[dict[str, Any]]:
        """An image's entries of `annotations`, in the file's order; none of an image that is not in the file."""
        position = self.images.ids.find(image_id)
        if position is None:
            return []
        first, end = self._bounds[position : position + 2].tolist()
        return [self._annotations[place] for place in self._order[first:end].tolist()]


def read_coco_file(path: Path, isthing: bool) -> CocoFile:
    """Reads and checks a JSON in COCO's format of instances; its classes are all things, or all stuff.

    Raises:
        DataError: the file is missing or broken, or an annotation's image or category is unknown.
    """
    content = load_json_lists(path)
    try:
        categories = tuple(
            parse_category(entry | {"isthing": isthing}, f"{path}: categories[{i}]")
            for i, entry in enumerate(content["categories"])
        )
        images = read_images(content, path)
        annotations = entries_of(content, "annotations", path)
        owners = _owners(annotations, images, {category.id for category in categories}, path)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: lacks what COCO's format of instances has ({show(error)}). {CURE}") from error
    order = np.argsort(owners, kind="stable").astype(np.int32)
    bounds = np.searchsorted(owners[order], np.arange(len(images) + 1))
    return CocoFile(
        path, tuple(sorted(categories, key=lambda category: category.id)), images, annotations, order, bounds
    )


def _owners(
    annotations: Sequence[Any], images: ImageTable, category_ids: set[int], path: Path
) -> Int[np.ndarray, " annotations"]:
    """The position of each annotation's image; -1 where it is unknown, which only one without a mask may have."""
    places = {image_id: place for place, image_id in enumerate(images.ids)}
    owners = []
    for image_id, category_id, has_mask in _facts(annotations):
        owners.append(places.get(image_id, -1))
        for what, value, known in (("image_id", image_id, places), ("category_id", category_id, category_ids)):
            if has_mask and value not in known:
                raise DataError(f"{path}: an annotation has the unknown {what} {show(value)}. {CURE}")
    return np.array(owners, np.int32)


def _facts(annotations: Sequence[Any]) -> Iterator[tuple[Any, Any, bool]]:
    """Each annotation's image and category, and whether it has a mask."""
    decoder = msgspec.json.Decoder(InstanceEntry)
    for _, entries in portions(annotations):
        usual = typed(entries, decoder)
        if usual is not None:
            yield from ((entry.image_id, entry.category_id, bytes(entry.segmentation) != b"null") for entry in usual)
        else:
            yield from ((e["image_id"], e["category_id"], e["segmentation"] is not None) for e in entries)
