"""The scenes as a dataset."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Int

from pisr_core.config import ScenesConfig, check, check_choice
from pisr_core.data.scenes.categories import POSITIONS, SCENE_CATEGORIES
from pisr_core.data.scenes.difficulty import DIFFICULTIES
from pisr_core.data.scenes.ground import Ground, lay_ground
from pisr_core.data.scenes.painting import draw_map, draw_shadows, draw_things, expose
from pisr_core.data.scenes.surfaces import paint_stuff
from pisr_core.data.scenes.things import Thing, category_of, place_things
from pisr_core.structures import IGNORE_INDEX, VOID_ID, PanopticSegmentation, Sample, Segment

SMALLEST_SIDE = 64
"""Pixels; below that things are too small to be told."""


class SceneDataset:
    """Scenes drawn on the fly: nothing is downloaded, stored or remembered.

    A scene depends on the split, the difficulty, the index and the size only. Six of the nine thing classes
    are twins of equal looks: a hulled thing is a boat on water and a car on the road, a round one a buoy on
    water and a ball on grass, a four-legged one a dog near a person and else a sheep. On the plaza a hulled
    or round thing is a boat or buoy if water can be seen anywhere, else a car or ball. In `relative` scenes the other
    instances decide instead: see `Difficulty.relative`, and docs/scenes.md for all levels.

    Args:
        config: the level, the size and the number of scenes.
        split: `train`, `val` or `test`; they share no scene.

    Raises:
        ConfigError: for an unknown level or split, or a size that is too small.
    """

    def __init__(self, config: ScenesConfig, split: str) -> None:
        check_choice("data.scenes.difficulty", config.difficulty, tuple(DIFFICULTIES))
        check_choice("split", split, ("train", "val", "test"))
        check(
            min(config.size) >= SMALLEST_SIDE,
            "data.scenes.size",
            config.size,
            f"at least {SMALLEST_SIDE} pixels a side",
        )
        self.categories = SCENE_CATEGORIES
        self._size = config.size
        self._difficulty = DIFFICULTIES[config.difficulty]
        self._length = {"train": config.train_images, "val": config.val_images, "test": config.test_images}[split]
        self._seed = zlib.crc32(f"{config.difficulty}/{split}".encode())

    def __len__(self) -> int:
        return self._length

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of every scene in pixels."""
        return self._size

    def file_name(self, index: int) -> str:
        """The name that a scene would have as a file."""
        return f"scene_{index:06d}.png"

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self._length:
            raise IndexError(f"Scene {index} is outside 0 … {self._length - 1}.")
        rng = np.random.default_rng([self._seed, index])
        ground = lay_ground(rng, self._difficulty, self._size)
        things, owners = _visible(place_things(rng, self._difficulty, ground), self._size)
        picture = paint_stuff(rng, ground, self._difficulty.clutter)
        draw_shadows(picture, things, strength=0.3)
        draw_things(picture, things)
        picture = expose(rng, picture, ground, self._difficulty)
        return Sample(
            image=torch.from_numpy(picture).permute(2, 0, 1).contiguous(),
            panoptic=annotate(ground, owners, self._classes(ground, things, owners)),
            image_id=index,
            file_name=self.file_name(index),
        )

    def _classes(self, ground: Ground, things: Sequence[Thing], owners: Int[np.ndarray, "H W"]) -> list[int]:
        """Those of the things, as what can be seen of the ground and the others decides."""
        water = int(((ground.stuff == POSITIONS["water"]) & (owners == 0)).sum()) >= _smallest_area(self._size)
        return [category_of(thing, things, water, self._difficulty.relative) for thing in things]


def _smallest_area(size: tuple[int, int]) -> float:
    """Pixels: what is seen less of is no segment. 20 at 128×128."""
    return 20 * (min(size) / 128) ** 2


def _visible(things: Sequence[Thing], size: tuple[int, int]) -> tuple[tuple[Thing, ...], Int[np.ndarray, "H W"]]:
    """The things of which enough is seen, and their map. The others are not drawn at all."""
    owners = draw_map(things, size)
    areas = np.bincount(owners.ravel(), minlength=len(things) + 1)[1:]
    seen = tuple(t for t, area in zip(things, areas, strict=True) if area >= enough_area(t, size))
    return (seen, owners) if len(seen) == len(things) else (seen, draw_map(seen, size))


def enough_area(thing: Thing, size: tuple[int, int]) -> float:
    """Pixels of a thing that must be seen for it to count: an eighth of its box at least."""
    left, top, right, bottom = thing.box
    return max(_smallest_area(size), (right - left) * (bottom - top) / 8)


def annotate(ground: Ground, owners: Int[np.ndarray, "H W"], classes: Sequence[int]) -> PanopticSegmentation:
    """One segment for each stuff class and each thing. Kerbs and slivers of stuff are void.

    Args:
        ground: what the things stand on.
        owners: see `draw_map`.
        classes: of each thing.
    """
    covered = owners > 0
    stuff = ground.stuff.copy()
    stuff[covered] = IGNORE_INDEX
    areas = np.bincount(stuff.ravel(), minlength=IGNORE_INDEX + 1)[: len(SCENE_CATEGORIES)]
    shown = [int(position) for position in np.flatnonzero(areas >= _smallest_area(stuff.shape))]
    segments = [Segment(i + 1, position, int(areas[position])) for i, position in enumerate(shown)]

    id_of_stuff = np.full(IGNORE_INDEX + 1, VOID_ID, np.int32)
    id_of_stuff[shown] = np.arange(1, len(shown) + 1)
    ids = cv2.LUT(stuff, id_of_stuff)
    ids[covered] = owners[covered] + len(shown)

    thing_areas = np.bincount(owners.ravel(), minlength=len(classes) + 1)[1:]
    for i, (category, area) in enumerate(zip(classes, thing_areas, strict=True)):
        segments.append(Segment(len(shown) + 1 + i, category, int(area)))
    return PanopticSegmentation(ids, tuple(segments))
