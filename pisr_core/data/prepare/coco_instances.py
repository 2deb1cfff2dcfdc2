"""COCO's instance annotations, with stuff from COCO's stuff annotations or from maps, as panoptic maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Int

from pisr_core.data.coco.entries import show
from pisr_core.data.coco.instances_json import CURE, CocoFile
from pisr_core.data.coco.masks import decoded_segmentation
from pisr_core.data.coco.tables import ImageRecord
from pisr_core.data.prepare.overlaps import Piece, paint
from pisr_core.data.prepare.raw import Label, LabelledMap, check_known, check_size, read_label_map
from pisr_core.errors import DataError


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
        things: the JSON of the instances.
        stuff: the JSON of the stuff, or the map, or neither.
        void: category ids of what is left out.
        overlap: a name of `OVERLAPS`.
    """

    record: ImageRecord
    things: CocoFile
    stuff: CocoFile | StuffMap | None
    void: frozenset[int]
    overlap: str

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
        things = self._entries(self.things)
        crowds = [entry for entry in things if entry.get("iscrowd")]
        instances = [entry for entry in things if not entry.get("iscrowd")]
        layers = [self._stuff(), self._pieces(crowds), self._pieces(instances)]
        return paint(self.record.size, layers, self.overlap)

    def _entries(self, file: CocoFile) -> list[dict[str, Any]]:
        return [entry for entry in file.entries(self.image_id) if entry["category_id"] not in self.void]

    def _pieces(self, entries: Iterable[dict[str, Any]]) -> list[Piece]:
        return [
            Piece(self._mask(entry), Label(entry["category_id"], bool(entry.get("iscrowd", 0)))) for entry in entries
        ]

    def _stuff(self) -> list[Piece]:
        """One piece a class."""
        if isinstance(self.stuff, StuffMap):
            return _pieces_of_map(self.stuff, self.record.size, self.things.path)
        merged: dict[int, Piece] = {}
        for piece in self._pieces([] if self.stuff is None else self._entries(self.stuff)):
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
                f"{self.things.path}: annotation {show(entry.get('id'))} of {self.file_name} has a broken "
                f"segmentation: {error}. {CURE}"
            ) from error


@dataclass(frozen=True)
class CocoInstancesImages(Sequence[CocoInstancesImage]):
    """The images of a JSON of instances, each made when it is asked for.

    Attributes:
        things: the JSON.
        stuff: the JSON of the stuff, or the folder of maps with what they hold, or neither.
        void: category ids of what is left out.
        overlap: a name of `OVERLAPS`.
    """

    things: CocoFile
    stuff: CocoFile | StuffMap | None
    void: frozenset[int]
    overlap: str

    def __len__(self) -> int:
        return len(self.things.images)

    @overload
    def __getitem__(self, index: int) -> CocoInstancesImage: ...

    @overload
    def __getitem__(self, index: slice) -> list[CocoInstancesImage]: ...

    def __getitem__(self, index: int | slice) -> CocoInstancesImage | list[CocoInstancesImage]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        record, stuff = self.things.images[index], self.stuff
        if isinstance(stuff, StuffMap):
            stuff = replace(stuff, path=(stuff.path / record.file_name).with_suffix(".png"))
        return CocoInstancesImage(record, self.things, stuff, self.void, self.overlap)


def _pieces_of_map(stuff: StuffMap, size: tuple[int, int], of: Path) -> list[Piece]:
    classes: Int[np.ndarray, "H W"] = read_label_map(stuff.path) + stuff.offset
    check_size(stuff.path, (classes.shape[0], classes.shape[1]), size, of)
    present = np.unique(classes)
    check_known(stuff.path, present[~np.isin(present, list(stuff.ignored | stuff.stuff))], "category ids")
    return [Piece(classes == i, Label(i)) for i in present.tolist() if i in stuff.stuff]
