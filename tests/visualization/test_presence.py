import numpy as np
import torch

from pisr_core.models.stage_maps import StageMaps
from pisr_core.structures import Category, PanopticSegmentation, Segment
from pisr_core.visualization.presence import instance_kinds, on_grid, presence
from pisr_core.visualization.stages import ImageMaps

ANNOTATION = PanopticSegmentation(
    np.repeat(np.repeat(np.array([[5, 5, 9], [5, 5, 0]], np.int32), 4, axis=0), 4, axis=1),
    (Segment(5, category=1, area=64), Segment(9, category=0, area=16)),
)
ANNOTATED = (Category(1, "road", False), Category(2, "car", True))


def maps(*instances):
    """Of an image of 2×3 cells, on a padded grid of 3×4."""
    rows = torch.zeros(len(instances), 3, 4)
    rows[:, :2, :3] = torch.stack(instances)
    classes = torch.tensor([1] * len(instances))
    stage = StageMaps(torch.zeros(3, 3, 4), rows, classes, torch.ones(len(instances)))
    return ImageMaps(np.zeros((8, 12, 3), np.uint8), (8, 12), PanopticSegmentation(ANNOTATION.ids * 0, ()), stage)


def test_maps_match_once_and_by_more_than_half():
    truth = torch.tensor([[5, 5, 9], [5, 5, 0]])
    exact = torch.tensor([[1.0, 0.8, 0], [0.9, 0.5, 0]])
    half = torch.tensor([[1.0, 0.8, 0], [0, 0.4, 0]])  # two of four cells: IoU 0.5 is not enough
    other = torch.tensor([[0, 0, 0.6], [0, 0, 0]])
    instances = torch.stack([half, exact, exact, torch.zeros(2, 3), other])
    assert instance_kinds(instances, truth, [5, 9]) == ["false", "match", "false", "empty", "match"]
    assert instance_kinds(instances, truth, []) == ["false", "false", "false", "empty", "false"]


def test_cells_are_looked_up_in_the_annotation():
    found = on_grid(maps(torch.zeros(2, 3)), ANNOTATION)
    assert found[:2, :3].tolist() == [[5, 5, 9], [5, 5, 0]]
    assert (found[2:] == -1).all() and (found[:, 3:] == -1).all()  # padding


def test_classes_are_compared_by_name_and_only_things_match():
    car, road = torch.tensor([[1.0, 1, 0], [1, 1, 0]]), torch.tensor([[0.0, 0, 1], [0, 0, 0]])
    own = (Category(7, "car", True), Category(8, "tree", True), Category(9, "road", False))
    there = presence(maps(road, car), own, ANNOTATION, ANNOTATED)
    assert there.classes == (True, False, True) and there.instances == ("false", "match")
