"""Where the stuff of a scene lies: sky and a skyline above the horizon, two to four grounds below it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from pisr_core.data.scenes.categories import POSITIONS
from pisr_core.data.scenes.difficulty import Difficulty
from pisr_core.structures import IGNORE_INDEX

GROUNDS = ("water", "road", "grass", "plaza")


@dataclass(frozen=True)
class Block:
    """One house of the skyline, a box that stands on the horizon, in pixels."""

    left: int
    right: int
    top: int


@dataclass(frozen=True)
class Region:
    """One ground before the nearer ones cover it.

    Attributes:
        name: of the ground.
        outline: corners (x, y) of the region, pixels.
        border: points (x, y) of the edge that it shares with the ground drawn before it.
        axis: the (x, y) ends of its middle line, along which a road's lane marks run.
    """

    name: str
    outline: Float[np.ndarray, "p 2"]
    border: Float[np.ndarray, "q 2"]
    axis: Float[np.ndarray, "2 2"]


@dataclass(frozen=True)
class Ground:
    """The stuff of a scene.

    Attributes:
        stuff: position of each pixel's class; `IGNORE_INDEX` on the kerbs, which have none.
        horizon: its row.
        blocks: the houses, the farther ones first.
        regions: the grounds.
    """

    stuff: UInt8[np.ndarray, "H W"]
    horizon: float
    blocks: tuple[Block, ...]
    regions: tuple[Region, ...]

    def depth(self, row: float) -> float:
        """Nearness of a row of the ground: 0 at the horizon, 1 at the lower edge."""
        return (row - self.horizon) / (self.stuff.shape[0] - self.horizon)


def lay_ground(rng: np.random.Generator, difficulty: Difficulty, size: tuple[int, int]) -> Ground:
    """Draws the stuff of a scene of `size` (H, W)."""
    height, width = size
    horizon = height * rng.uniform(0.22, 0.38)
    names = _choose_grounds(rng, difficulty)
    arrange = _bands if rng.random() < 0.6 else _sectors
    regions = arrange(rng, names, size, horizon)
    blocks = _skyline(rng, width, horizon)

    stuff = np.full(size, POSITIONS["sky"], np.uint8)
    for block in blocks:
        stuff[block.top : int(horizon) + 1, block.left : block.right] = POSITIONS["building"]
    kerb = max(1, round(min(size) / 100))
    for i, region in enumerate(regions):
        cv2.fillPoly(stuff, [_pixels(region.outline)], POSITIONS[region.name])
        if i > 0:
            cv2.polylines(stuff, [_pixels(region.border)], False, IGNORE_INDEX, kerb)
    return Ground(stuff, horizon, blocks, regions)


def _pixels(points: Float[np.ndarray, "p 2"]) -> Int[np.ndarray, "p 2"]:
    return np.rint(points).astype(np.int32)


def _choose_grounds(rng: np.random.Generator, difficulty: Difficulty) -> list[str]:
    """Names in random order, one of them a ground to walk on."""
    low, high = difficulty.grounds
    first = "grass" if rng.random() < 0.6 else "plaza"
    others = [name for name in GROUNDS if name != first]
    chosen = [first, *rng.permutation(others)[: rng.integers(low, high + 1) - 1]]
    return [str(name) for name in rng.permutation(chosen)]


def _skyline(rng: np.random.Generator, width: int, horizon: float) -> tuple[Block, ...]:
    lefts = rng.uniform(-0.1, 0.95, rng.integers(0, 6)) * width
    return tuple(
        Block(
            left=max(int(left), 0),
            right=int(left + width * rng.uniform(0.12, 0.3)),
            top=int(horizon * rng.uniform(0.15, 0.7)),
        )
        for left in lefts
    )


def _bands(rng: np.random.Generator, names: list[str], size: tuple[int, int], horizon: float) -> tuple[Region, ...]:
    """Grounds one before the other, from the horizon to the viewer, with slightly sloping, wavy borders."""
    height, width = size
    shares = rng.uniform(1.0, 1.6, len(names)) * np.linspace(0.8, 1.2, len(names))
    tops = horizon + (height - horizon) * np.concatenate([[0], np.cumsum(shares) / shares.sum()])
    xs = np.linspace(0, width, 25)
    regions = []
    for i, name in enumerate(names):
        slope, swing, phase = rng.uniform(-0.08, 0.08), rng.uniform(0, 0.012), rng.uniform(0, 6.3)
        bend = slope * (xs / width - 0.5) + swing * np.sin(6 * xs / width + phase)
        border = np.stack([xs, tops[i] + height * bend * (i > 0)], axis=1)
        outline = np.concatenate([border, [[width, height], [0, height]]])
        middle = (tops[i + 1] - tops[i]) / 2
        axis = np.stack([border[0] + [0, middle], border[-1] + [0, middle]])
        regions.append(Region(name, outline, border, axis))
    return tuple(regions)


def _sectors(rng: np.random.Generator, names: list[str], size: tuple[int, int], horizon: float) -> tuple[Region, ...]:
    """Grounds side by side, which run to a vanishing point on the horizon."""
    height, width = size
    vanishing = np.array([width * rng.uniform(0.3, 0.7), horizon])
    shares = rng.uniform(1.0, 1.6, len(names))
    edges = width * (np.concatenate([[0], np.cumsum(shares) / shares.sum()]))
    regions = []
    for i, name in enumerate(names):
        near = np.array([edges[i], height])
        start = vanishing if i > 0 else np.array([0, horizon])
        corners = [start, [width, horizon], [width, height], near]
        axis = np.stack([vanishing, [(edges[i] + edges[i + 1]) / 2, height]])
        regions.append(Region(name, np.array(corners), np.stack([start, near]), axis))
    return tuple(regions)
