"""COCO's instance annotations, with stuff from COCO's stuff annotations or from maps, as panoptic maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from pisr_core.data.coco.entries import parse_category, parse_image, show
from pisr_core.data.coco.json_files import load_json
from pisr_core.data.coco.masks import decoded_segmentation
from pisr_core.data.coco.tables import ImageRecord
from pisr_core.data.prepare.overlaps import Piece, paint
from pisr_core.data.prepare.raw import Label, LabelledMap, check_known, check_size, read_label_map
from pisr_core.errors import DataError
from pisr_core.structures import Category

CURE = "Mend the file or export it again in COCO's format of instances."


@dataclass(frozen=True)
class StuffMap:
    """The class of each pixel of an image's stuff.

    Attributes:
        path: PNG of one channel.
        offset: what is added to its numbers to get category ids.
        ignored: category ids that mean nothing: void, and things, which come as instances.
        stuff: those of the stuff.
    """

    path: Path
    offset: int
    ignored: frozenset[int]
    stuff: frozenset[int]


@dataclass(frozen=True)
class CocoInstancesImage:
    """One image with its instances.

    Attributes:
        record: its entry.
        things: its entries of `annotations` in the instances' JSON.
        stuff: those of the stuff's JSON, or the map; of neither when there is no stuff.
        overlap: a name of `OVERLAPS`.
        where: the JSON, for messages.
    """

    record: ImageRecord
    things: tuple[dict[str, Any], ...]
    stuff: tuple[dict[str, Any], ...] | StuffMap
    overlap: str
    where: Path

    @property
    def image_id(self) -> int | str:
        """That of the JSON."""
        return self.record.id

    @property
    def file_name(self) -> str:
        """That of the JSON."""
        return self.record.file_name

    @property
    def png_name(self) -> str:
        """The image's with its ending replaced."""
        return Path(self.record.file_name).with_suffix(".png").as_posix()

    def read(self) -> LabelledMap:
        """Stuff at the bottom, then crowds, then instances, each layer by the overlap rule.

        Raises:
            DataError: a mask is broken, or the stuff's map is missing, broken or of another size.
        """
        crowds = [entry for entry in self.things if entry.get("iscrowd")]
        instances = [entry for entry in self.things if not entry.get("iscrowd")]
        layers = [self._stuff(), self._pieces(crowds), self._pieces(instances)]
        return paint(self.record.size, layers, self.overlap)

    def _pieces(self, entries: Iterable[dict[str, Any]]) -> list[Piece]:
        return [
            Piece(self._mask(entry), Label(entry["category_id"], bool(entry.get("iscrowd", 0)))) for entry in entries
        ]

    def _stuff(self) -> list[Piece]:
        """One piece a class."""
        if isinstance(self.stuff, StuffMap):
            return _pieces_of_map(self.stuff, self.record.size, self.where)
        merged: dict[int, Piece] = {}
        for piece in self._pieces(self.stuff):
            known = merged.get(piece.label.category_id)
            both = piece if known is None else replace(piece, mask=piece.mask | known.mask)
            merged[piece.label.category_id] = both
        return list(merged.values())

    def _mask(self, entry: dict[str, Any]) -> Bool[np.ndarray, "H W"]:
        """An entry's mask."""
        try:
            return decoded_segmentation(entry["segmentation"], self.record.size)
        except ValueError as error:
            raise DataError(
                f"{self.where}: annotation {show(entry.get('id'))} of {self.file_name} has a broken segmentation: "
                f"{error}. {CURE}"
            ) from error


def _pieces_of_map(stuff: StuffMap, size: tuple[int, int], of: Path) -> list[Piece]:
    classes: Int[np.ndarray, "H W"] = read_label_map(stuff.path) + stuff.offset
    check_size(stuff.path, (classes.shape[0], classes.shape[1]), size, of)
    present = np.unique(classes)
    check_known(stuff.path, present[~np.isin(present, list(stuff.ignored | stuff.stuff))], "category ids")
    return [Piece(classes == i, Label(i)) for i in present.tolist() if i in stuff.stuff]


@dataclass(frozen=True)
class CocoFile:
    """A JSON of instances or of stuff.

    Attributes:
        path: the file.
        categories: by id.
        images: in the file's order.
        annotations: of each image, in the file's order.
    """

    path: Path
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    annotations: dict[int | str, list[dict[str, Any]]]


def read_coco_file(path: Path, isthing: bool) -> CocoFile:
    """Reads and checks a JSON in COCO's format of instances; its classes are all things, or all stuff.

    Raises:
        DataError: the file is missing or broken, or an annotation's image or category is unknown.
    """
    content = load_json(path)
    try:
        categories = tuple(
            parse_category(entry | {"isthing": isthing}, f"{path}: categories[{i}]")
            for i, entry in enumerate(content["categories"])
        )
        images = tuple(parse_image(entry, f"{path}: images[{i}]") for i, entry in enumerate(content["images"]))
        annotations = content["annotations"]
        used = {(entry["image_id"], entry["category_id"]) for entry in annotations if entry["segmentation"] is not None}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: lacks what COCO's format of instances has ({show(error)}). {CURE}") from error
    for what, found, known in (
        ("image_id", {image_id for image_id, _ in used}, {image.id for image in images}),
        ("category_id", {category_id for _, category_id in used}, {category.id for category in categories}),
    ):
        if found - known:
            raise DataError(f"{path}: an annotation has the unknown {what} {show(min(found - known, key=str))}. {CURE}")
    by_image = defaultdict(list)
    for entry in annotations:
        by_image[entry["image_id"]].append(entry)
    return CocoFile(path, tuple(sorted(categories, key=lambda category: category.id)), images, dict(by_image))
