from dataclasses import replace

import pytest
import torch

from pisr_core import presets
from pisr_core.config import RelationConfig
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.models.center_offset.instances import center_instances, centers_to_maps, top_centers, what_is_there
from pisr_core.models.center_offset.structures import CenterOffsetPrediction, CenterOffsetTargets
from pisr_core.models.stage_maps import NO_CLASS
from pisr_core.structures import SemanticPrediction, thing_ids

THINGS = thing_ids(SCENE_CATEGORIES)
N = len(SCENE_CATEGORIES)
WIDE = RelationConfig(instance_radius=20.0)
STUFF = [index for index in range(N) if index not in THINGS]


def test_centers_are_the_highest_peaks_without_a_threshold():
    heatmap = torch.zeros(1, 1, 6, 6)
    heatmap[0, 0, 1, 1], heatmap[0, 0, 1, 2], heatmap[0, 0, 4, 4] = 0.9, 0.8, 1e-4
    scores, centers = top_centers(heatmap, 3)
    assert centers[0, :2].tolist() == [[1, 1], [4, 4]]  # (1, 2) is beside a higher one
    assert scores[0].tolist() == pytest.approx([0.9, 1e-4, 0.0])
    scores, _ = top_centers(-torch.ones(1, 1, 6, 6), 3)
    assert scores.tolist() == [[0.0, 0.0, 0.0]]


def test_fewer_cells_than_k():
    scores, centers = top_centers(torch.rand(2, 1, 3, 3), 200)
    assert scores.shape == (2, 9) and centers.shape == (2, 9, 2)


def test_footnote_2_by_hand():
    # One row of cells; each points to where it stands, so distances to q = (0, 1) are 1, 0, 1, 2.
    maps = centers_to_maps(
        scores=torch.tensor([[1.0, 0.0]]),
        centers=torch.tensor([[[0, 1], [0, 0]]]),
        offset=torch.zeros(1, 2, 1, 4),
        thing=torch.tensor([[[1.0, 1.0, 0.5, 1.0]]]),
        radius=2.0,
    )
    assert maps[0, 0].tolist() == [[0.5, 1.0, 0.25, 0.0]]
    assert maps[0, 1].tolist() == [[0.0, 0.0, 0.0, 0.0]]  # an absent centre


def test_offsets_are_y_x_in_cells():
    offset = torch.zeros(1, 2, 5, 5)
    offset[0, 0, 0, 0], offset[0, 1, 0, 0] = 3.0, 1.0
    maps = centers_to_maps(torch.ones(1, 1), torch.tensor([[[3, 1]]]), offset, torch.ones(1, 5, 5), radius=1.0)
    assert maps[0, 0].nonzero().tolist() == [[0, 0], [3, 1]]


def prediction(h=6, w=8):
    logits = torch.randn(1, 4, h, w)
    semantic = SemanticPrediction.from_logits(logits)
    return CenterOffsetPrediction(semantic, torch.rand(1, 1, h, w), torch.randn(1, 2, h, w))


def test_thing_masks():
    p = prediction()
    binary = center_instances(p, torch.tensor([1, 3]), 5, WIDE)
    soft = center_instances(p, torch.tensor([1, 3]), 5, replace(WIDE, thing_mask="probability"))
    thing = torch.isin(p.semantic.logits.argmax(1), torch.tensor([1, 3]))
    assert ((binary > 0).any(1) == thing).all()
    torch.testing.assert_close(soft * thing[:, None], binary * p.semantic.probabilities[:, [1, 3]].sum(1)[:, None])


def test_gradient_is_finite_where_a_cell_points_exactly_at_its_center():
    p = prediction()
    offset = torch.zeros_like(p.offset, requires_grad=True)
    maps = center_instances(
        CenterOffsetPrediction(p.semantic, p.center_heatmap, offset), torch.tensor([0, 1, 2, 3]), 5, RelationConfig()
    )
    maps.sum().backward()
    assert offset.grad.isfinite().all() and offset.grad.abs().sum() > 0


def test_no_instances():
    assert center_instances(prediction(), torch.tensor([1]), 0, RelationConfig()).shape == (1, 0, 6, 8)


def test_centers_that_are_not_sure_are_left_out():
    p = prediction()
    scores, _ = top_centers(p.center_heatmap, 5)
    least = scores[0, 1].item()
    maps = center_instances(p, torch.tensor([0, 1, 2, 3]), 5, replace(WIDE, instance_score=least))
    assert maps[0, :2].amax(dim=(1, 2)).all() and not maps[0, 2:].any()


def test_a_radius_of_so_many_extents():
    """Two rows of three and one cell: the first centre's disc of three cells has a radius of (3 / pi)^0.5."""
    maps = centers_to_maps(
        scores=torch.ones(1, 2),
        centers=torch.tensor([[[0, 0], [0, 6]]]),
        offset=torch.zeros(1, 2, 1, 7),
        thing=torch.tensor([[[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]]]),
        radius=2.0,
        unit="extent",
    )
    assert maps[0, 0, 0].tolist() == pytest.approx([1, 1 - 1 / (2 * (3 / torch.pi) ** 0.5), 0, 0, 0, 0, 0], abs=1e-6)
    assert maps[0, 1, 0].tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 1])


def test_what_is_there_by_hand():
    """Four classes, two in the picture; of five peaks two lie on one thing, one on another, one on none."""
    heatmap = torch.zeros(1, 1, 8, 8)
    for y, x, score in [(1, 1, 0.9), (1, 3, 0.8), (6, 6, 0.7), (6, 1, 0.6)]:
        heatmap[0, 0, y, x] = score
    target = CenterOffsetTargets(
        semantic=torch.tensor([0, 2]).repeat_interleave(16)[:, None].expand(32, 32)[None],
        semantic_weight=torch.ones(1, 32, 32),
        center=torch.zeros(1, 1, 32, 32),
        center_weight=torch.ones(1, 1, 32, 32),
        offset=torch.zeros(1, 2, 32, 32),
        offset_weight=torch.ones(1, 1, 32, 32),
    )
    for (top, left), (y, x) in {(0, 0): (6, 10), (20, 20): (26, 26)}.items():
        rows, columns = torch.arange(top, top + 12), torch.arange(left, min(left + 20, 32))
        target.center[0, 0, top : top + 12, left : left + 20] = 0.6
        target.offset[0, 0, top : top + 12, left : left + 20] = (y - rows)[:, None].float()
        target.offset[0, 1, top : top + 12, left : left + 20] = (x - columns)[None].float()
    semantic = SemanticPrediction.from_logits(torch.zeros(1, 4, 8, 8))
    first = CenterOffsetPrediction(semantic, heatmap, torch.zeros(1, 2, 8, 8))
    present, counted = what_is_there(first, target, 4 + 5, RelationConfig())
    assert present[0].tolist() == [True, False, True, False, True, False, True, False, False]
    assert counted[0].tolist() == [True] * 8 + [False]


def test_a_stride_leaves_every_so_manieth_cell():
    p = prediction()
    whole = center_instances(p, torch.tensor([1, 3]), 5, WIDE)
    assert torch.equal(center_instances(p, torch.tensor([1, 3]), 5, WIDE, stride=2), whole[..., ::2, ::2])


def test_centres_become_instances_with_their_class():
    """A thing on the left with a centre at (1, 1), stuff on the right with a false one at (3, 6)."""
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "relation.top_k=3"])
    model = build_model(config, SCENE_CATEGORIES)
    classes = torch.tensor([[THINGS[2]] * 4 + [STUFF[0]] * 4] * 4)
    semantic = SemanticPrediction.from_logits(
        100.0 * torch.nn.functional.one_hot(classes, N).permute(2, 0, 1)[None].float()
    )
    heatmap = torch.zeros(1, 1, 4, 8)
    heatmap[0, 0, 1, 1], heatmap[0, 0, 3, 6] = 1.5, 0.4
    stage = model.stage_maps(CenterOffsetPrediction(semantic, heatmap, torch.zeros(1, 2, 4, 8)))
    assert torch.equal(stage.classes, semantic.probabilities[0])
    assert stage.instance_scores.tolist() == pytest.approx([1, 0.4, 0])
    assert stage.peaks[:2].tolist() == [[1, 1], [3, 6]]
    assert stage.instance_classes.tolist() == [THINGS[2], THINGS[2], NO_CLASS]
    assert stage.instances[0, 1, 1] == 1 and (stage.instances[:, :, 4:] == 0).all()
    assert stage.instances_of(THINGS[2]) == [0, 1] and stage.instances_of(STUFF[0]) == []


def test_the_encoded_instances_are_the_models_own():
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "relation.top_k=20"])
    model = build_model(config, SCENE_CATEGORIES).eval()
    with torch.inference_mode():
        output = model(torch.randint(0, 256, (1, 3, 64, 96)))
        stage = model.stage_maps(output.initial)
    assert torch.equal(stage.instances, output.instances[0])
    assert (stage.instance_scores.diff() <= 0).all()
