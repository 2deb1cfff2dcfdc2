import math

import numpy as np
import pytest
import torch

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.models.boxes.structures import Detections, FPNPrediction
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.models.queries.structures import MaskPrediction
from pisr_core.structures import PanopticSegmentation, SemanticPrediction, thing_ids
from pisr_core.visualization.stages import NO_CLASS, ImageMaps, StageMaps, stage_maps

THINGS = thing_ids(SCENE_CATEGORIES)
N = len(SCENE_CATEGORIES)
STUFF = [index for index in range(N) if index not in THINGS]


@pytest.fixture(scope="module")
def model():
    """Gives classes and settings; the predictions are the tests' own."""
    return build_model(
        presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "relation.top_k=3"]), SCENE_CATEGORIES
    )


def certain(classes):
    """Logits of a map of classes that leave no doubt."""
    return 100.0 * torch.nn.functional.one_hot(torch.tensor(classes), N).permute(2, 0, 1)[None].float()


def test_centres_become_instances_with_their_class(model):
    """A thing on the left with a centre at (1, 1), stuff on the right with a false one at (3, 6)."""
    semantic = SemanticPrediction.from_logits(certain([[THINGS[2]] * 4 + [STUFF[0]] * 4] * 4))
    heatmap = torch.zeros(1, 1, 4, 8)
    heatmap[0, 0, 1, 1], heatmap[0, 0, 3, 6] = 1.5, 0.4
    stage = stage_maps(model, CenterOffsetPrediction(semantic, heatmap, torch.zeros(1, 2, 4, 8)))
    assert torch.equal(stage.classes, semantic.probabilities[0])
    assert stage.instance_scores.tolist() == pytest.approx([1, 0.4, 0])
    assert stage.peaks[:2].tolist() == [[1, 1], [3, 6]]
    assert stage.instance_classes.tolist() == [THINGS[2], THINGS[2], NO_CLASS]
    assert stage.instances[0, 1, 1] == 1 and (stage.instances[:, :, 4:] == 0).all()
    assert stage.instances_of(THINGS[2]) == [0, 1] and stage.instances_of(STUFF[0]) == []


def test_queries_are_ordered_by_confidence(model):
    class_logits = torch.full((1, 4, N + 1), -50.0)
    for query, (category, confidence) in enumerate([(2, 0.5), (4, 0.9), (N, 0.99), (1, 0.7)]):
        class_logits[0, query, category] = math.log(confidence)
        class_logits[0, query, 0 if category == N else N] = math.log(1 - confidence)
    mask_logits = torch.full((1, 4, 2, 2), -50.0)
    mask_logits[0, 1, 0] = 50
    stage = stage_maps(model, MaskPrediction(class_logits, mask_logits))
    assert stage.instance_classes.tolist() == [4, 1, 2]
    assert stage.instance_scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    np.testing.assert_allclose(stage.instances[0], [[0.9, 0.9], [0, 0]], atol=1e-5)
    np.testing.assert_allclose(stage.classes[4], [[0.9, 0.9], [0, 0]], atol=1e-5)
    assert stage.peaks is None and stage.center_heatmap is None


def test_things_of_panoptic_fpn_come_from_detections(model):
    logits = torch.zeros(1, 1 + len(STUFF), 4, 4)
    logits[:, 2] = 100
    found = Detections(
        boxes=torch.tensor([[0.0, 0, 8, 8], [8, 8, 16, 16]]),
        scores=torch.tensor([0.8, 0.6]),
        labels=torch.tensor([1, 0]),
        masks=torch.ones(2, 4, 4),
    )
    pyramid = {"p2": torch.zeros(1, 1, 4, 4)}
    stage = stage_maps(model, FPNPrediction(SemanticPrediction.from_logits(logits), pyramid, (found,)))
    assert (stage.classes[STUFF[1]] == 1).all()
    assert stage.classes[THINGS[1], 0, 0] == pytest.approx(0.8) and stage.classes[THINGS[1], 3, 3] == 0
    assert stage.classes[THINGS[0], 3, 3] == pytest.approx(0.6)
    assert stage.instance_classes.tolist() == [THINGS[1], THINGS[0], NO_CLASS]
    assert stage.instance_scores.tolist() == pytest.approx([0.8, 0.6, 0])
    bare = stage_maps(model, FPNPrediction(SemanticPrediction.from_logits(logits), pyramid))
    assert len(bare.instances) == 0 and (bare.classes[list(THINGS)] == 0).all()


def test_unknown_predictions_are_refused(model):
    with pytest.raises(TypeError, match="list"):
        stage_maps(model, [])


@pytest.mark.parametrize("size", [(8, 12), (16, 24)])
def test_maps_and_points_lie_at_their_place_in_the_image(size):
    """A left half of ones stays the left half; the grid's cell (1, 2) of a 2×3 grid is centred in the last sixth."""
    grid = torch.tensor([[1.0, 1, 0], [1, 1, 0]])
    stage = StageMaps(grid[None], grid[None], torch.zeros(1, dtype=torch.long), torch.ones(1))
    image = np.zeros((*size, 3), np.uint8)
    maps = ImageMaps(image, (8, 12), PanopticSegmentation(np.zeros(size, np.int32), ()), stage)
    heat = maps.at_image_size(grid)
    assert heat.shape == size and (heat[:, : size[1] // 3] == 1).all() and (heat[:, -1] == 0).all()
    assert maps.encoded is stage
    expected = [[size[0] * 0.75 - 0.5, size[1] * 5 / 6 - 0.5]]
    np.testing.assert_allclose(maps.at_image_points(torch.tensor([[1, 2]])), expected, rtol=1e-5)


def test_the_encoded_instances_are_the_models_own():
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "relation.top_k=20"])
    model = build_model(config, SCENE_CATEGORIES).eval()
    with torch.inference_mode():
        output = model(torch.randint(0, 256, (1, 3, 64, 96)))
        stage = stage_maps(model, output.initial)
    assert torch.equal(stage.instances, output.instances[0])
    assert (stage.instance_scores.diff() <= 0).all()
