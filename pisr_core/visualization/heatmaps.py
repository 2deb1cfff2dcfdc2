"""The paper's heatmaps as panels: a class before and after the relation, centres, and instance maps."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.visualization.grid import HEAT_OPACITY, Arrow, Outline, Panel, Scale, blend
from pisr_core.visualization.overlay import GOLDEN_RATIO, overlay
from pisr_core.visualization.stages import ImageMaps, StageMaps

CERTAINTY = Scale()
"""Colours of values in [0, 1]."""

FAINTEST = 0.2
"""Opacity of the outline of an instance without any confidence."""

INSIDE = 0.25
"""Value of an instance map from which on a cell lies in it."""

CENTER_COLOR = (0, 235, 255)
"""RGB of M over a class's heatmap."""


def largest_classes(maps: Iterable[PanopticSegmentation], categories: Sequence[Category], limit: int = 3) -> list[int]:
    """Positions of the classes that cover most pixels, things before stuff."""
    areas: Counter[int] = Counter()
    for panoptic in maps:
        for segment in panoptic.segments:
            areas[segment.category] += segment.area
    order = sorted(areas, key=lambda category: (not categories[category].isthing, -areas[category], category))
    return order[:limit]


def class_panels(maps: ImageMaps, category: int, categories: Sequence[Category]) -> list[Panel]:
    """A row of Fig. 4: the image, the class before and after the relation, and the panoptic map.

    PISR's own F_sp stands between before and after. A base model has one heatmap only.
    """
    panels = [Panel("input", maps.image)]
    if maps.initial is not None:
        panels.append(_class_panel("before: S", maps, maps.initial, category))
    if maps.signals is not None:
        panels.append(_signal_panel(maps, category, len(categories)))
    panels.append(_class_panel("S" if maps.initial is None else "after: S′", maps, maps.final, category))
    panels.append(Panel("panoptic map", overlay(maps.image, maps.panoptic, categories)))
    return panels


def _class_panel(caption: str, maps: ImageMaps, stage: StageMaps, category: int) -> Panel:
    """The class's heatmap with the outlines of all its selected instances, the doubtful ones faint."""
    outlines = []
    for row in stage.instances_of(category):
        instance = maps.at_image_size(stage.instances[row])
        if instance.min() < 0.5 <= instance.max():
            outlines.append(Outline(instance, max(float(stage.instance_scores[row]), FAINTEST)))
    count = f", {len(outlines)} instance{'s' if len(outlines) != 1 else ''}" if outlines else ""
    picture = blend(maps.image, maps.at_image_size(stage.classes[category]), CERTAINTY)
    return Panel(caption + count, picture, CERTAINTY, outlines)


def _signal_panel(maps: ImageMaps, category: int, num_classes: int) -> Panel:
    """F_sp of the class and its instances. It has no natural scale: its own largest value bounds it."""
    assert maps.signals is not None
    rows = [category, *(num_classes + row for row in maps.encoded.instances_of(category))]
    signal = maps.at_image_size(maps.signals[rows].sum(dim=0))
    bound = max(float(np.abs(signal).max()), 1e-6)
    scale = Scale(-bound, bound, "coolwarm")
    return Panel("F_sp of the class + its instances", blend(maps.image, signal, scale), scale)


def center_panel(caption: str, maps: ImageMaps, category: int, threshold: float) -> Panel:
    """Fig. 5's S+C: the class's final heatmap, M on it, and rings around the class's centres.

    Args:
        caption: above it, before the number of centres.
        maps: of an architecture with or without centres.
        category: the class.
        threshold: lowest score of a centre, as in the merging.
    """
    stage = maps.final
    certainty = maps.at_image_size(stage.classes[category])
    picture = blend(maps.image, certainty, CERTAINTY)
    if stage.center_heatmap is None or stage.peaks is None:
        return Panel(f"{caption}: S (no centres here)", picture, CERTAINTY)
    glow = _paint(picture, maps.at_image_size(stage.center_heatmap) * certainty)
    rows = [row for row in stage.instances_of(category) if stage.instance_scores[row] > threshold]
    points = maps.at_image_points(stage.peaks[rows])
    count = f"{len(points)} centre{'s' if len(points) != 1 else ''}"
    return Panel(f"{caption}: S+C, {count}", glow, CERTAINTY, points=points)


def _paint(picture: UInt8[np.ndarray, "H W 3"], share: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The centres' colour over a picture."""
    opacity = share.clip(0, 1)[..., None]
    return np.rint((1 - opacity) * picture + opacity * np.array(CENTER_COLOR)).astype(np.uint8)


def partition_panels(maps: ImageMaps) -> list[Panel]:
    """How I shares out the image: each cell in the colour of its strongest map, and how many maps it lies in."""
    instances = maps.encoded.instances
    if not instances.any():
        return []
    strongest, rows = instances.max(dim=0)
    hues = torch.tensor([colorsys.hsv_to_rgb(row * GOLDEN_RATIO % 1, 0.85, 1.0) for row in range(len(instances))])
    shares = strongest.cpu() * hues[rows.cpu()].permute(2, 0, 1)
    colors = np.stack([maps.at_image_size(channel) for channel in shares], axis=2)
    opacity = HEAT_OPACITY * maps.at_image_size(strongest)[..., None]
    painted = (1 - opacity) * maps.image + HEAT_OPACITY * 255 * colors
    inside = (instances > INSIDE).sum(dim=0)
    mean = float(inside[inside > 0].float().mean()) if inside.any() else 0.0
    scale = Scale(0.0, max(4.0, float(inside.max())), "viridis")
    crowd = blend(maps.image, maps.at_image_size(inside.float()), scale)
    held = int((instances.flatten(1).amax(dim=1) > 0).sum())
    return [
        Panel(f"each cell's strongest of {held} maps", np.rint(painted).clip(0, 255).astype(np.uint8)),
        Panel(f"maps over {INSIDE} in a cell, {mean:.1f} where any", crowd, scale),
    ]


def question_panels(maps: ImageMaps, num_classes: int) -> list[Panel]:
    """Whom each instance asks: an arrow to the one that it takes most from, the clearer the more; none to a class.

    Args:
        maps: of a relation whose categories attend to one another; nothing is drawn for others.
        num_classes: n.
    """
    instances = maps.encoded.instances
    filled = (instances.flatten(1).amax(dim=1) > 0).nonzero().flatten().tolist()
    if maps.shares is None or not filled:
        return []
    centers = dict(zip(filled, maps.at_image_points(_middles(instances[filled])).tolist(), strict=True))
    arrows = []
    for row, center in centers.items():
        share, most = maps.shares[:, num_classes + row].max(dim=0)
        other = centers.get(int(most) - num_classes)
        if other is not None:
            arrows.append(Arrow(tuple(center), tuple(other), max(float(share), FAINTEST)))
    caption = f"whom {len(filled)} instances ask most: {len(arrows)} another, {len(filled) - len(arrows)} a class"
    return [Panel(caption, maps.image, arrows=arrows)]


def _middles(instances: Float[Tensor, "k h w"]) -> Int[Tensor, "k 2"]:
    """(y, x) of the cell in the middle of each map's mass."""
    mass = instances.float().sum(dim=(1, 2))
    ends = [torch.arange(side, device=instances.device, dtype=torch.float32) for side in instances.shape[1:]]
    sums = instances.float().sum(dim=2) @ ends[0], instances.float().sum(dim=1) @ ends[1]
    return torch.stack([(total / mass).round().long() for total in sums], dim=1)


def instance_panels(maps: ImageMaps, categories: Sequence[Category], limit: int = 12) -> list[Panel]:
    """The instance maps I of the most confident instances, with their scores and ω; empty maps are left out."""
    stage = maps.encoded
    panels = []
    for row in (stage.instances.flatten(1).amax(dim=1) > 0).nonzero().flatten().tolist()[:limit]:
        category = int(stage.instance_classes[row])
        name = categories[category].name if category >= 0 else "?"
        caption = f"{row + 1}. {name}, score {float(stage.instance_scores[row]):.2f}"
        if maps.weights is not None:
            caption += f", ω {float(maps.weights[len(categories) + row]):.2f}"
        panels.append(Panel(caption, blend(maps.image, maps.at_image_size(stage.instances[row]), CERTAINTY)))
    return panels
