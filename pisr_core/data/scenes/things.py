"""Where the things of a scene stand, and the rule by which context decides their class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from pisr_core.data.scenes.categories import POSITIONS
from pisr_core.data.scenes.difficulty import Difficulty
from pisr_core.data.scenes.ground import GROUNDS, Ground
from pisr_core.data.scenes.shapes import SHAPES, TWINS, Color

HOMES: dict[str, tuple[str, ...]] = {
    "person": ("grass", "plaza"),
    "hulled": ("water", "road"),
    "round": ("water", "grass"),
    "four-legged": ("grass",),
    "tree": ("grass", "plaza"),
    "parasol": ("plaza", "grass"),
}
"""The grounds on which each shape stands. Persons come first, since four-legged things are placed by them."""

NEUTRAL = "plaza"
"""The ground that says nothing about the hulled and round things on it."""

NEAR = 0.95
"""A four-legged thing is a dog up to this distance from a person, in heights of the person."""

FAR = 1.7
"""Between `NEAR` and this distance no four-legged thing is placed, so that nobody has to measure."""

APART = 0.15
"""Least gap between the boxes of two equal shapes in `relative` scenes, in shorter sides of the image: at 128 pixels
more than half of nine cells of four pixels, so that no such window around a pixel of one shows the other."""

COLORS_OF_FOUR = (0, 0, 1, 2)
"""Which of three colours each of the four look-alikes of a `relative` scene has."""

CLEAR_COLORS: tuple[Color, ...] = ((222, 44, 40), (34, 84, 208), (244, 208, 40), (246, 246, 242))
"""The colours of look-alikes, which have no second one: so far apart that neither the light nor the coarse cells of a
network bring two together."""

_TRIALS = 8


@dataclass(frozen=True)
class Thing:
    """One object as it is drawn.

    Attributes:
        shape: a name of `SHAPES`.
        ground: what it stands on.
        x: column of its foot, pixels.
        y: row of its foot, pixels; the larger, the nearer.
        height: pixels.
        facing: 1 to the right, -1 to the left.
        body: its main colour.
        trim: its second colour.
    """

    shape: str
    ground: str
    x: float
    y: float
    height: float
    facing: int
    body: Color
    trim: Color

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels."""
        half = SHAPES[self.shape].width * self.height / 2
        return self.x - half, self.y - self.height, self.x + half, self.y


def category_of(thing: Thing, things: Sequence[Thing], water: bool, relative: bool = False) -> int:
    """The class of a thing, as the position of its category.

    Args:
        thing: the thing.
        things: all that can be seen, which decide between dog and sheep.
        water: whether water can be seen, which decides on the neutral ground.
        relative: other things of its shape and colour decide, and nothing else.
    """
    if thing.shape not in TWINS:
        return POSITIONS[thing.shape]
    if relative:
        first = any(other.shape == thing.shape and other.body == thing.body for other in things if other is not thing)
    elif thing.shape == "four-legged":
        first = _distance_to_person(thing, things) <= NEAR
    else:
        first = thing.ground == "water" or (thing.ground == NEUTRAL and water)
    return POSITIONS[TWINS[thing.shape][0 if first else 1]]


def place_things(rng: np.random.Generator, difficulty: Difficulty, ground: Ground) -> tuple[Thing, ...]:
    """Objects of a scene, the farthest first. Those for which no free place is found are left out."""
    return tuple(sorted(_Placement(rng, difficulty, ground).fill(), key=lambda thing: thing.y))


def _distance_to_person(thing: Thing, things: Sequence[Thing]) -> float:
    """Between the feet, in heights of the person; infinite without any."""
    distances = (math.hypot(thing.x - p.x, thing.y - p.y) / p.height for p in things if p.shape == "person")
    return min(distances, default=math.inf)


def _covered_share(a: Thing, b: Thing) -> float:
    """The share of the farther one's box that the nearer one's box covers."""
    far, near = (a.box, b.box) if a.y <= b.y else (b.box, a.box)
    width = min(far[2], near[2]) - max(far[0], near[0])
    height = min(far[3], near[3]) - max(far[1], near[1])
    return max(width, 0.0) * max(height, 0.0) / ((far[2] - far[0]) * (far[3] - far[1]))


def _gap(a: Thing, b: Thing) -> float:
    """Pixels between two boxes along the axis on which they are farther apart; negative where they overlap."""
    across = max(a.box[0], b.box[0]) - min(a.box[2], b.box[2])
    down = max(a.box[1], b.box[1]) - min(a.box[3], b.box[3])
    return max(across, down)


class _Placement:
    """Fills one scene, thing by thing."""

    def __init__(self, rng: np.random.Generator, difficulty: Difficulty, ground: Ground) -> None:
        self.rng = rng
        self.difficulty = difficulty
        self.ground = ground
        self.unit = min(ground.stuff.shape) * rng.uniform(*difficulty.zoom)
        self.things: list[Thing] = []
        self.free: dict[str, Int[np.ndarray, " p"]] = {
            name: pixels
            for name in GROUNDS
            if len(pixels := np.flatnonzero(ground.stuff.ravel() == POSITIONS[name])) > 0
        }

    def fill(self) -> list[Thing]:
        if self.difficulty.relative:
            self._place_look_alikes()
        for shape in self._plan():
            thing = self._try_places(shape, self._choose_ground(shape))
            if thing is not None and self.rng.random() < self.difficulty.crowding:
                self._add_neighbours(thing)
        return self.things

    def _plan(self) -> list[str]:
        """The shapes to place, persons first."""
        fitting = [shape for shape, grounds in HOMES.items() if not self.free.keys().isdisjoint(grounds)]
        twins = [shape for shape in fitting if shape in TWINS and not self.difficulty.relative]
        others = [shape for shape in fitting if shape not in TWINS]
        low, high = self.difficulty.things
        plan = []
        for _ in range(self.rng.integers(low, high + 1)):
            choices = twins if twins and self.rng.random() < self.difficulty.ambiguous else others
            plan.append(choices[self.rng.integers(len(choices))])
        return sorted(plan, key=list(HOMES).index)

    def _place_look_alikes(self) -> None:
        """Two or three of the shapes with twins, four of each. What remains of fewer than four is taken back."""
        shapes = self.rng.permutation(list(TWINS))
        for shape in map(str, shapes[: self.rng.integers(2, 4)]):
            colors = self.rng.permutation(len(CLEAR_COLORS))
            before = len(self.things)
            for which in self.rng.permutation(COLORS_OF_FOUR):
                self._try_places(shape, "", CLEAR_COLORS[colors[which]])
            if len(self.things) < before + len(COLORS_OF_FOUR):
                del self.things[before:]

    def _choose_ground(self, shape: str) -> str:
        by_ground = shape in ("hulled", "round")
        if by_ground and NEUTRAL in self.free and self.rng.random() < self.difficulty.long_range:
            return NEUTRAL
        homes = [name for name in HOMES[shape] if name in self.free]
        return homes[self.rng.integers(len(homes))]

    def _try_places(self, shape: str, ground: str, body: Color | None = None) -> Thing | None:
        """Of look-alikes the colour is given, and the ground is any; they are worth more trials, for four must fit."""
        people = [t for t in self.things if t.shape == "person" and t.ground == ground]
        by_person = shape == "four-legged" and len(people) > 0 and self.rng.random() < 0.75
        for _ in range(_TRIALS if body is None else 12 * _TRIALS):
            where = ground or str(self.rng.choice(list(self.free)))
            x, y = self._beside_one_of(people) if by_person else self._anywhere(where)
            thing = self._make(shape, where, x, y, body)
            if self._fits(thing):
                self.things.append(thing)
                return thing
        return None

    def _beside_one_of(self, people: list[Thing]) -> tuple[float, float]:
        person = people[self.rng.integers(len(people))]
        side = 1 if self.rng.random() < 0.5 else -1
        across, down = side * self.rng.uniform(0.5, 0.8), self.rng.uniform(-0.1, 0.15)
        return person.x + across * person.height, person.y + down * person.height

    def _anywhere(self, ground: str) -> tuple[float, float]:
        pixels = self.free[ground]
        y, x = divmod(int(pixels[self.rng.integers(len(pixels))]), self.ground.stuff.shape[1])
        return float(x), float(y)

    def _add_neighbours(self, first: Thing) -> None:
        """Up to three of the same shape in a row, each of which touches the one before."""
        side = 1 if self.rng.random() < 0.5 else -1
        for _ in range(self.rng.integers(1, 4)):
            step = side * self.rng.uniform(0.7, 0.95) * SHAPES[first.shape].width * first.height
            y = first.y + self.rng.uniform(-0.1, 0.1) * first.height
            thing = self._make(first.shape, first.ground, first.x + step, y)
            if not self._fits(thing):
                return
            self.things.append(thing)
            first = thing

    def _make(self, shape: str, ground: str, x: float, y: float, body: Color | None = None) -> Thing:
        look, far = SHAPES[shape], self.difficulty.far_size
        perspective = far + (1 - far) * self.ground.depth(y)
        return Thing(
            shape=shape,
            ground=ground,
            x=x,
            y=y,
            height=look.size * self.unit * perspective * self.rng.uniform(0.9, 1.1),
            facing=1 if self.rng.random() < 0.5 else -1,
            body=body or look.bodies[self.rng.integers(len(look.bodies))],
            trim=look.trims[self.rng.integers(len(look.trims))] if body is None else body,
        )

    def _fits(self, thing: Thing) -> bool:
        """Whether it stands on its own ground, hides no other too much and is at a clear distance."""
        stuff = self.ground.stuff
        rows, columns = stuff.shape
        farthest = self.ground.horizon + 0.35 * thing.height
        if not (farthest <= thing.y < rows and 0 <= thing.x < columns):
            return False
        quarter = SHAPES[thing.shape].width * thing.height / 4
        under = [min(max(int(x), 0), columns - 1) for x in (thing.x - quarter, thing.x, thing.x + quarter)]
        if any(stuff[int(thing.y), column] != POSITIONS[thing.ground] for column in under):
            return False
        if self.difficulty.relative:
            if any(self._too_near(thing, other) for other in self.things if other.shape == thing.shape):
                return False
        elif thing.shape == "four-legged" and NEAR < _distance_to_person(thing, self.things) < FAR:
            return False
        return all(_covered_share(thing, other) <= self.difficulty.occlusion for other in self.things)

    def _too_near(self, thing: Thing, other: Thing) -> bool:
        """Whether a window around one of two equal shapes could show the other."""
        return _gap(thing, other) < APART * min(self.ground.stuff.shape)
