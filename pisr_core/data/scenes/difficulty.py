"""How hard the scenes are."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Difficulty:
    """The knobs of a level.

    Attributes:
        things: (lowest, highest) number of objects planned for a scene; hidden ones are left out afterwards.
        grounds: (lowest, highest) number of different grounds.
        ambiguous: share of the objects whose class follows from their surroundings only.
        long_range: share of the ambiguous hulled and round objects that stand on the neutral plaza, where
            their class follows from whether there is water anywhere in the picture.
        crowding: probability that an object gets neighbours of its own class that touch it.
        occlusion: the largest share of an object's box that one nearer object covers.
        zoom: (lowest, highest) factor on the size of all objects of a scene.
        far_size: size of an object at the horizon relative to the same at the lower edge.
        clutter: density of waves, stones, tufts and clouds, about 0 to 1.
        light: strength of the changes of brightness, colour cast, shade and haze, about 0 to 1.
        noise: standard deviation of the sensor's noise, grey levels.
        relative: what decides the class of a twin is the other instances: it is of the first class (boat, buoy, dog)
            if another of its shape and colour is in the picture. Each such shape that a scene has comes as four, a
            pair of one colour and two of others, on any ground, and far apart. So neither the surroundings of one nor
            the classes in the picture say anything.
    """

    things: tuple[int, int]
    grounds: tuple[int, int]
    ambiguous: float
    long_range: float
    crowding: float
    occlusion: float
    zoom: tuple[float, float]
    far_size: float
    clutter: float
    light: float
    noise: float
    relative: bool = False


_LEVELS: dict[str, Difficulty] = {
    "easy": Difficulty(
        things=(3, 6),
        grounds=(2, 2),
        ambiguous=0.5,
        long_range=0.0,
        crowding=0.1,
        occlusion=0.15,
        zoom=(1.1, 1.3),
        far_size=0.7,
        clutter=0.3,
        light=0.3,
        noise=2.0,
    ),
    "default": Difficulty(
        things=(5, 10),
        grounds=(2, 3),
        ambiguous=0.6,
        long_range=0.0,
        crowding=0.25,
        occlusion=0.3,
        zoom=(0.9, 1.2),
        far_size=0.55,
        clutter=0.6,
        light=0.6,
        noise=4.0,
    ),
    "hard": Difficulty(
        things=(10, 20),
        grounds=(2, 4),
        ambiguous=0.7,
        long_range=0.5,
        crowding=0.45,
        occlusion=0.6,
        zoom=(0.7, 1.1),
        far_size=0.4,
        clutter=1.0,
        light=1.0,
        noise=9.0,
    ),
}
DIFFICULTIES = _LEVELS | {
    "distant": replace(_LEVELS["default"], long_range=1.0),
    "relative": replace(_LEVELS["default"], relative=True, things=(0, 2), crowding=0.0, zoom=(1.0, 1.2)),
    "crowded": replace(_LEVELS["default"], things=(30, 44), crowding=0.35, zoom=(0.42, 0.55), clutter=1.6, noise=7.0),
}
"""Levels by name. A small model learns `default` from scratch within minutes. The others are for studies: `hard`, and
three that are `default` but for one thing each. In `distant` what decides the class of hulled and round things may lie
far from them; in `relative` other instances decide; `crowded` has 30 to 60 instances at 256×256."""
