import colorsys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from pisr_core.structures import Category, PanopticSegmentation, Segment
from pisr_core.visualization.grid import Arrow, Box, Outline, Panel, Scale, blend, draw_grid
from pisr_core.visualization.heatmaps import (
    CERTAINTY,
    center_panel,
    class_panels,
    instance_panels,
    largest_classes,
    partition_panels,
    question_panels,
)
from pisr_core.visualization.presence import Presence
from pisr_core.visualization.stages import ImageMaps, StageMaps
from pisr_core.visualization.weights import COLORS, draw_weights

CATEGORIES = (Category(1, "sky", False, (70, 130, 180)), Category(2, "car", True, (0, 0, 142)))
SIZE = (16, 16)


def stage(level, centers=True):
    """4×4 cells; a car in the left half, another one that nobody is sure of, and an absent one."""
    car = torch.tensor([[1.0, 1, 0, 0]] * 4)
    instances = torch.stack((car, car.flip(1), torch.zeros(4, 4)))
    return StageMaps(
        classes=torch.stack((1 - level * car, level * car)),
        instances=instances,
        instance_classes=torch.tensor([1, 1, -1]),
        instance_scores=torch.tensor([0.9, 0.05, 0.0]),
        center_heatmap=0.5 * car if centers else None,
        peaks=torch.tensor([[1, 1], [2, 3], [0, 0]]) if centers else None,
    )


def maps(**changes):
    ids = np.ones(SIZE, np.int32)
    ids[:, 8:] = 2
    panoptic = PanopticSegmentation(ids, (Segment(1, 1, 128), Segment(2, 0, 128)))
    values = {"final": stage(1.0), "initial": stage(0.5), "weights": torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])}
    return ImageMaps(np.full((*SIZE, 3), 100, np.uint8), SIZE, panoptic, **(values | changes))


def color(value, scale=CERTAINTY):
    share = (value - scale.low) / (scale.high - scale.low)
    top = 255 * np.array(matplotlib.colormaps[scale.colormap](share)[:3])
    return 0.3 * 100 + 0.7 * top


@pytest.mark.parametrize(("value", "shown"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (3.0, 1.0), (-1.0, 0.0)])
def test_a_heatmap_has_the_colours_of_its_scale(value, shown):
    picture = blend(np.full((2, 3, 3), 100, np.uint8), np.full((2, 3), value, np.float32), CERTAINTY)
    np.testing.assert_allclose(picture, np.broadcast_to(color(shown), (2, 3, 3)), atol=1)


def test_a_row_of_figure_4():
    signals = torch.zeros(5, 4, 4)
    signals[1, :, 2:], signals[2], signals[0] = -4.0, 1.0, 100.0
    panels = class_panels(maps(signals=signals), 1, CATEGORIES)
    captions = [panel.caption for panel in panels]
    assert captions == [
        "input",
        "before: S, 2 instances",
        "F_sp of the class + its instances",
        "after: S′, 2 instances",
        "panoptic map",
    ]
    _, before, signal, after, _ = panels
    np.testing.assert_allclose(before.picture[8, 0], color(0.5), atol=1)
    np.testing.assert_allclose(after.picture[8, 0], color(1.0), atol=1)
    np.testing.assert_allclose(after.picture[8, 15], color(0.0), atol=1)
    assert (signal.scale.low, signal.scale.high) == (-3, 3)
    np.testing.assert_allclose(signal.picture[8, 0], color(1.0, signal.scale), atol=1)
    np.testing.assert_allclose(signal.picture[8, 15], color(-3.0, signal.scale), atol=1)
    assert [outline.opacity for outline in before.outlines] == pytest.approx([0.9, 0.2])
    assert before.outlines[0].map[8, 0] == 1 and before.outlines[0].map[8, 15] == 0


def test_a_base_model_has_one_heatmap():
    panels = class_panels(maps(initial=None, weights=None), 0, CATEGORIES)
    assert [panel.caption for panel in panels] == ["input", "S", "panoptic map"]


def test_centres_above_the_threshold_are_marked():
    panel = center_panel("A", maps(), 1, threshold=0.1)
    assert panel.caption == "A: S+C, 1 centre"
    np.testing.assert_allclose(panel.points, [[5.5, 5.5]])
    expected = 0.5 * color(1.0) + 0.5 * np.array([0, 235, 255])
    np.testing.assert_allclose(panel.picture[8, 0], expected, atol=1.5)
    assert center_panel("A", maps(), 1, threshold=0.01).caption == "A: S+C, 2 centres"
    assert center_panel("A", maps(), 0, threshold=0.01).caption == "A: S+C, 0 centres"


def test_an_architecture_without_centres_says_so():
    panel = center_panel("A", maps(final=stage(1.0, centers=False)), 1, 0.1)
    assert panel.caption == "A: S (no centres here)" and panel.points is None


def test_instance_maps_are_those_encoded_by_confidence():
    captions = [panel.caption for panel in instance_panels(maps(), CATEGORIES)]
    assert captions == ["1. car, score 0.90, ω 0.30", "2. car, score 0.05, ω 0.40"]
    assert [p.caption for p in instance_panels(maps(weights=None), CATEGORIES, limit=1)] == ["1. car, score 0.90"]


def test_cells_go_to_their_strongest_map():
    strongest, crowd = partition_panels(maps())
    first, second = (255 * np.array(colorsys.hsv_to_rgb(hue, 0.85, 1.0)) for hue in (0.0, 0.618034))
    np.testing.assert_allclose(strongest.picture[8, 0], 0.3 * 100 + 0.7 * first, atol=1)
    np.testing.assert_allclose(strongest.picture[8, 15], 0.3 * 100 + 0.7 * second, atol=1)
    assert [strongest.caption, crowd.caption] == [
        "each cell's strongest of 2 maps",
        "maps over 0.25 in a cell, 1.0 where any",
    ]
    np.testing.assert_allclose(crowd.picture[8, 0], color(1.0, crowd.scale), atol=1)
    overlapping = replace(stage(0.5), instances=torch.full((3, 4, 4), 0.5))
    assert "3.0 where any" in partition_panels(maps(initial=overlapping))[1].caption
    assert partition_panels(maps(initial=replace(overlapping, instances=torch.zeros(3, 4, 4)))) == []


def test_the_largest_classes_come_first_and_things_before_stuff():
    ids = np.array([[1, 1, 1, 2, 3, 4]], np.int32)
    segments = (Segment(1, 0, 3), Segment(2, 1, 1), Segment(3, 1, 1), Segment(4, 2, 1))
    categories = (*CATEGORIES, Category(3, "tree", True))
    assert largest_classes([PanopticSegmentation(ids, segments)], categories) == [1, 2, 0]
    assert largest_classes([PanopticSegmentation(ids, segments)] * 2, categories, limit=1) == [1]


def test_a_grid_draws_its_panels(tmp_path):
    red = Panel("red", np.full((20, 40, 3), (255, 0, 0), np.uint8), Scale(), boxes=[Box(5, 5, 10, 10)])
    ring = np.zeros((20, 40), np.float32)
    ring[5:15, 10:30] = 1
    blue = Panel("blue", np.full((20, 40, 3), (0, 0, 255), np.uint8), None, [Outline(ring)], np.array([[10.0, 20.0]]))
    draw_grid(tmp_path / "g.png", [red, red, blue], "title", columns=2)
    pixels = np.asarray(Image.open(tmp_path / "g.png").convert("RGB"))
    height, width = pixels.shape[:2]
    is_red, is_blue = (pixels == (255, 0, 0)).all(axis=2), (pixels == (0, 0, 255)).all(axis=2)
    assert is_blue.any() and not is_blue[: height // 2].any() and not is_blue[:, width // 2 :].any()
    assert is_red[: height // 2, : width // 2].any() and is_red[: height // 2, width // 2 :].any()


def test_weights_are_drawn_as_they_are(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(
        "pisr_core.visualization.weights.Figure.savefig",
        lambda figure, path, **_: (figures.append(figure), path.touch()),
    )
    draw_weights(tmp_path / "w.png", maps(), CATEGORIES, "ω")
    left, right = figures[0].axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([0.1, 0.2])
    assert [text.get_text() for text in left.get_yticklabels()] == ["sky", "car"]
    np.testing.assert_allclose(right.collections[0].get_offsets(), [[1, 0.3], [2, 0.4], [3, 0.5]], rtol=1e-6)
    colors = right.collections[0].get_facecolors()
    assert (colors[0] == colors[1]).all() and (colors[1] != colors[2]).any()
    truth = Presence((False, True), ("match", "false", "empty"))
    draw_weights(tmp_path / "w.png", maps(), CATEGORIES, "ω", truth)
    left, right = figures[1].axes
    annotated, *kinds = [COLORS[kind] for kind in ("match", "match", "false", "empty")]
    assert to_hex(left.patches[1].get_facecolor()) == annotated != to_hex(left.patches[0].get_facecolor())
    assert list(map(to_hex, right.collections[0].get_facecolors())) == kinds
    with pytest.raises(ValueError, match="ω"):
        draw_weights(tmp_path / "w.png", maps(weights=None), CATEGORIES, "ω")


def test_an_arrow_leads_to_the_instance_that_is_asked_most():
    """The left car asks the right one, that one asks the sky, and the absent one nobody."""
    shares = torch.zeros(5, 5)
    shares[0, 2], shares[3, 2], shares[0, 3], shares[2, 3], shares[2, 4] = 0.25, 0.75, 0.9, 0.1, 1.0
    (panel,) = question_panels(maps(shares=shares), num_classes=2)
    # The middles of columns 0 and 1, and of 2 and 3, are rounded to even cells of four pixels.
    assert panel.arrows == [Arrow((9.5, 1.5), (9.5, 9.5), 0.75)]
    assert panel.caption == "whom 2 instances ask most: 1 another, 1 a class"
    assert question_panels(maps(), num_classes=2) == []


def test_an_arrow_is_drawn_in_white(tmp_path):
    black = Panel("", np.zeros((*SIZE, 3), np.uint8))
    draw_grid(tmp_path / "a.png", [black, replace(black, arrows=[Arrow((8, 2), (8, 13))])], "")
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    middle = picture[picture.shape[0] // 4 :]
    left, right = middle[:, : middle.shape[1] // 2], middle[:, middle.shape[1] // 2 :]
    assert (right[:, 60:-60] > 200).sum() > (left[:, 60:-60] > 200).sum() + 100
