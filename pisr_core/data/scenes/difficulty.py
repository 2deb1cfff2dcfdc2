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
DIFFICULTIES = _LEVELS | {"distant": replace(_LEVELS["default"], long_range=1.0)}
"""Levels by name. A small model learns `default` from scratch within minutes. `distant` and `hard` are for studies;
`distant` is `default` but for what decides the class of its hulled and round things, which may lie far from them."""
