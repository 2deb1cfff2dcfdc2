import pytest
import torch

from pisr_core.models.boxes.instances import box_instances, paste_masks
from pisr_core.models.boxes.structures import Detections
from pisr_core.models.center_offset.instances import center_instances, centers_to_maps, top_centers
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.models.queries.instances import mask_instances
from pisr_core.models.queries.structures import MaskPrediction
from pisr_core.structures import SemanticPrediction


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
    binary = center_instances(p, (1, 3), k=5, radius=20.0)
    soft = center_instances(p, (1, 3), k=5, radius=20.0, thing_mask="probability")
    thing = torch.isin(p.semantic.logits.argmax(1), torch.tensor([1, 3]))
    assert ((binary > 0).any(1) == thing).all()
    torch.testing.assert_close(soft * thing[:, None], binary * p.semantic.probabilities[:, [1, 3]].sum(1)[:, None])


def test_gradient_is_finite_where_a_cell_points_exactly_at_its_center():
    p = prediction()
    offset = torch.zeros_like(p.offset, requires_grad=True)
    maps = center_instances(CenterOffsetPrediction(p.semantic, p.center_heatmap, offset), (0, 1, 2, 3), 5, 8.0)
    maps.sum().backward()
    assert offset.grad.isfinite().all() and offset.grad.abs().sum() > 0


def test_no_instances():
    assert center_instances(prediction(), (1,), k=0, radius=8.0).shape == (1, 0, 6, 8)


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
    maps = box_instances([found, nothing], 3, (4, 4))
    assert maps[0, 0].tolist() == [[0.5] * 4] * 2 + [[0.0] * 4] * 2
    assert maps[0, 1, 2:, 2:].sum() == 1 and maps[0, 1].sum() == 1
    assert (maps[0, 2] == 0).all() and (maps[1] == 0).all()
    assert box_instances([found], 1, (4, 4)).shape == (1, 1, 4, 4)


def test_queries_become_instances_in_order_of_confidence():
    # Best classes, no object (the last) left out: 0.5, 0.7, 0.05.
    probabilities = torch.tensor([[[0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9]]])
    masks = torch.tensor([0.5, 0.9, 0.1]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    prediction = MaskPrediction(probabilities.log(), masks.logit())
    assert mask_instances(prediction, 2)[0, :, 0, 0].tolist() == pytest.approx([0.63, 0.25])
    assert mask_instances(prediction, 9).shape == (1, 3, 2, 2)
    assert mask_instances(prediction, 0).shape == (1, 0, 2, 2)


def test_a_stride_leaves_every_so_manieth_cell():
    p = prediction()
    whole = center_instances(p, (1, 3), k=5, radius=20.0)
    assert torch.equal(center_instances(p, (1, 3), k=5, radius=20.0, stride=2), whole[..., ::2, ::2])
