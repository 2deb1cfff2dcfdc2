"""The classes of the scenes."""

from __future__ import annotations

from pisr_core.structures import Category

SCENE_CATEGORIES: tuple[Category, ...] = (
    Category(1, "sky", False, (120, 180, 235), "background"),
    Category(2, "building", False, (112, 104, 128), "background"),
    Category(3, "water", False, (40, 98, 178), "ground"),
    Category(4, "road", False, (78, 74, 84), "ground"),
    Category(5, "grass", False, (120, 178, 86), "ground"),
    Category(6, "plaza", False, (222, 200, 154), "ground"),
    Category(7, "person", True, (220, 40, 70), "upright"),
    Category(8, "tree", True, (28, 112, 62), "upright"),
    Category(9, "parasol", True, (240, 110, 190), "upright"),
    Category(10, "boat", True, (250, 215, 60), "hulled"),
    Category(11, "car", True, (0, 30, 140), "hulled"),
    Category(12, "buoy", True, (255, 130, 0), "round"),
    Category(13, "ball", True, (150, 60, 200), "round"),
    Category(14, "dog", True, (130, 74, 36), "four-legged"),
    Category(15, "sheep", True, (244, 240, 226), "four-legged"),
)
"""Stuff first. The things of the supercategories hulled, round and four-legged are twins: they look the same,
and only what is around them tells which they are."""

POSITIONS: dict[str, int] = {category.name: i for i, category in enumerate(SCENE_CATEGORIES)}
"""Position of each class in `SCENE_CATEGORIES` by its name."""
