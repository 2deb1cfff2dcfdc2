"""Scenes whose things move."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from pisr_core.config import ScenesConfig
from pisr_core.data.scenes.categories import POSITIONS, SCENE_CATEGORIES
from pisr_core.data.scenes.dataset import annotate, enough_area
from pisr_core.data.scenes.difficulty import DIFFICULTIES
from pisr_core.data.scenes.ground import Ground, lay_ground
from pisr_core.data.scenes.painting import draw_map, draw_shadows, draw_things, expose
from pisr_core.data.scenes.surfaces import Picture, paint_stuff
from pisr_core.data.scenes.things import Thing, category_of, place_things
from pisr_core.structures import PanopticSegmentation, Sample
from pisr_core.structures.renumbering import renumbered

FASTEST = 0.02
"""Shorter sides of the image that a thing moves in a frame at most."""


class SceneFilm:
    """The things of a scene, walking on.

    A thing goes to the side that it faces, at a speed of its own, and turns at the edge; the nearer ones hide the
    farther. It keeps its class, though the ground below it changes, and its id, though it is hidden for a while. The
    light stays, and so does the noise.

    Args:
        config: the level and the size.
        split: `train`, `val` or `test`, which share no film.
        index: of the film, whose first frame is the scene of this number.
    """

    def __init__(self, config: ScenesConfig, split: str, index: int) -> None:
        self._size, self._difficulty = config.size, DIFFICULTIES[config.difficulty]
        seed = (zlib.crc32(f"{config.difficulty}/{split}".encode()), index)
        self.name = f"film_{index:06d}"
        rng = np.random.default_rng(seed)
        self._ground: Ground = lay_ground(rng, self._difficulty, self._size)
        self._things = place_things(rng, self._difficulty, self._ground)
        self._background: Picture = paint_stuff(rng, self._ground, self._difficulty.clutter)
        self._light = rng
        fastest = FASTEST * min(self._size)
        walking = np.random.default_rng((*seed, 1))
        self._speeds: Float[np.ndarray, " things"] = walking.uniform(0.2 * fastest, fastest, len(self._things))
        water = bool((self._ground.stuff == POSITIONS["water"]).any())
        self._classes = [category_of(thing, self._things, water, self._difficulty.relative) for thing in self._things]

    def frames(self, count: int) -> Iterator[Sample]:
        """The first frames; an image's id is its number, from 1."""
        for number in range(1, count + 1):
            image, panoptic = self._frame(number - 1)
            name = f"{self.name}_{number:06d}.png"
            yield Sample(torch.from_numpy(image).permute(2, 0, 1).contiguous(), panoptic, number, name)

    def _frame(self, time: int) -> tuple[Picture, PanopticSegmentation]:
        things = [
            _walked(thing, speed * time, self._size[1])
            for thing, speed in zip(self._things, self._speeds.tolist(), strict=True)
        ]
        areas = np.bincount(draw_map(things, self._size).ravel(), minlength=len(things) + 1)[1:].tolist()
        shown = [i for i, thing in enumerate(things) if areas[i] >= enough_area(thing, self._size)]
        seen = [things[i] for i in shown]
        picture = self._background.copy()
        draw_shadows(picture, seen, strength=0.3)
        draw_things(picture, seen)
        picture = expose(deepcopy(self._light), picture, self._ground, self._difficulty)
        panoptic = annotate(self._ground, draw_map(seen, self._size), [self._classes[i] for i in shown])
        return picture, _lasting(panoptic, shown)


def _walked(thing: Thing, distance: float, width: int) -> Thing:
    """A thing after some pixels; at the edge of an image of this width it turns."""
    x = (thing.x + thing.facing * distance) % (2 * width)
    return replace(thing, x=x) if x < width else replace(thing, x=2 * width - x, facing=-thing.facing)


def _lasting(panoptic: PanopticSegmentation, shown: Sequence[int]) -> PanopticSegmentation:
    """With ids that stay: 1 + class for stuff, and above all these for the things, by their number among all."""
    stuff, classes = len(panoptic.segments) - len(shown), len(SCENE_CATEGORIES)
    ids = {segment.id: 1 + segment.category for segment in panoptic.segments[:stuff]}
    ids |= {s.id: 1 + classes + i for s, i in zip(panoptic.segments[stuff:], shown, strict=True)}
    return renumbered(panoptic, ids)
