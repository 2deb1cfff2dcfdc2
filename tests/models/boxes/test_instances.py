import pytest
import torch

from pisr_core import presets
from pisr_core.config import RelationConfig
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.models.boxes.instances import box_instances, paste_masks
from pisr_core.models.boxes.structures import Detections, FPNPrediction
from pisr_core.models.stage_maps import NO_CLASS
from pisr_core.structures import SemanticPrediction, thing_ids

THINGS = thing_ids(SCENE_CATEGORIES)
STUFF = [index for index in range(len(SCENE_CATEGORIES)) if index not in THINGS]


def test_a_pasted_mask_fills_its_box_and_may_reach_beyond_the_image():
    masks = torch.ones(2, 4, 4)
    boxes = torch.tensor([[1.0, 2.0, 5.0, 6.0], [-2.0, -2.0, 2.0, 2.0]])
    inside, beyond = paste_masks(masks, boxes, (8, 10)) >= 0.5
    expected = torch.zeros(8, 10, dtype=torch.bool)
    expected[2:6, 1:5] = True
    assert torch.equal(inside, expected)
    assert beyond.sum() == 4 and beyond[:2, :2].all()


def test_pasting_is_bilinear_sampling():
    masks, (h, w) = torch.rand(3, 7, 7), (9, 12)
    boxes = torch.tensor([[0.3, 1.2, 7.9, 6.1], [4.0, 4.0, 4.5, 4.5], [-3.0, 2.0, 20.0, 8.5]])
    x1, y1, x2, y2 = boxes.T[..., None]
    x, y = (torch.arange(w) + 0.5 - x1) / (x2 - x1) * 2 - 1, (torch.arange(h) + 0.5 - y1) / (y2 - y1) * 2 - 1
    grid = torch.stack((x[:, None].expand(3, h, w), y[:, :, None].expand(3, h, w)), dim=-1)
    sampled = torch.nn.functional.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]
    torch.testing.assert_close(paste_masks(masks, boxes, (h, w)), sampled)


def test_box_instances_are_masks_times_scores_with_zero_rows():
    found = Detections(
        torch.tensor([[0.0, 0.0, 16.0, 8.0], [8.0, 8.0, 16.0, 16.0]]),
        torch.tensor([0.5, 0.25]),
        torch.tensor([0, 1]),
        torch.ones(2, 4, 4),
    )
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 4, 4))
    maps = box_instances([found, nothing], RelationConfig(top_k=3), (4, 4))
    assert maps[0, 0].tolist() == [[0.5] * 4] * 2 + [[0.0] * 4] * 2
    assert maps[0, 1, 2:, 2:].sum() == 1 and maps[0, 1].sum() == 1
    assert (maps[0, 2] == 0).all() and (maps[1] == 0).all()
    assert box_instances([found], RelationConfig(top_k=1), (4, 4)).shape == (1, 1, 4, 4)


def test_things_of_panoptic_fpn_come_from_detections():
    config = presets.load("custom-pfpn-r18", ["backbone.pretrained=false", "relation.top_k=3"])
    with torch.device("meta"):
        model = build_model(config, SCENE_CATEGORIES)
    logits = torch.zeros(1, 1 + len(STUFF), 4, 4)
    logits[:, 2] = 100
    found = Detections(
        boxes=torch.tensor([[0.0, 0, 8, 8], [8, 8, 16, 16]]),
        scores=torch.tensor([0.8, 0.6]),
        labels=torch.tensor([1, 0]),
        masks=torch.ones(2, 4, 4),
    )
    pyramid = {"p2": torch.zeros(1, 1, 4, 4)}
    stage = model.stage_maps(FPNPrediction(SemanticPrediction.from_logits(logits), pyramid, (found,)))
    assert (stage.classes[STUFF[1]] == 1).all()
    assert stage.classes[THINGS[1], 0, 0] == pytest.approx(0.8) and stage.classes[THINGS[1], 3, 3] == 0
    assert stage.classes[THINGS[0], 3, 3] == pytest.approx(0.6)
    assert stage.instance_classes.tolist() == [THINGS[1], THINGS[0], NO_CLASS]
    assert stage.instance_scores.tolist() == pytest.approx([0.8, 0.6, 0])
    bare = model.stage_maps(FPNPrediction(SemanticPrediction.from_logits(logits), pyramid))
    assert len(bare.instances) == 0 and (bare.classes[list(THINGS)] == 0).all()
