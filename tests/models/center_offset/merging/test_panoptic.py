import json

import numpy as np
import pytest
import torch

from pisr_core.config import MergeConfig
from pisr_core.models.center_offset.merging import grouping
from pisr_core.models.center_offset.merging.fixed_grouping import fixed_centers, group_pixels_fixed
from pisr_core.models.center_offset.merging.grouping import LABEL_DIVISOR, find_centers, group_pixels, nearest_centers
from pisr_core.models.center_offset.merging.panoptic import center_offset_panoptic, panoptic_labels
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.models.exportable import VOID
from pisr_core.structures import SemanticPrediction


def test_reference_merging(parts_case, record_property):
    config = json.loads((parts_case / "deeplab_merge.json").read_text())
    arrays = np.load(parts_case / "deeplab_merge.npz")
    assert config["label_divisor"] == LABEL_DIVISOR and config["void_label"] == VOID
    for case in range(config["cases"]):
        labels = panoptic_labels(
            torch.from_numpy(arrays[f"semantic_{case}"]).long(),
            torch.from_numpy(arrays[f"center_{case}"]).float(),
            torch.from_numpy(arrays[f"offset_{case}"]).float(),
            tuple(config["thing_ids"]),
            center_threshold=config["threshold"],
            nms_kernel=config["nms_kernel"],
            top_k=config["top_k"][case],
            stuff_area=config["stuff_area"],
        )
        differing = float((labels.numpy() != arrays[f"panoptic_{case}"]).mean())
        record_property(f"merging {case}, share of pixels", differing)
        np.testing.assert_array_equal(labels.numpy(), arrays[f"panoptic_{case}"])


@pytest.mark.parametrize(("count", "noise"), [(1, 0.0), (7, 2.0), (40, 30.0), (40, 300.0)])
def test_nearest_centers_are_those_of_all_distances(monkeypatch, count, noise):
    """Wherever pixels point, the image's edges and far outside too, and whatever the chunks."""
    monkeypatch.setattr(grouping, "CPU_CHUNK", 500)
    size = (90, 130)
    centers = torch.stack([torch.randint(0, side, (count,)) for side in size], dim=1)
    points = centers[torch.randint(0, count, (3000,))].T + noise * torch.randn(2, 3000)
    distances = (points.T[:, None] - centers).square().sum(dim=2).sqrt()
    assert torch.equal(nearest_centers(points, centers, size), distances.argmin(dim=1))


def test_of_equally_near_centers_the_first_wins():
    centers = torch.tensor([[10, 10], [10, 30], [10, 10]])
    points = torch.tensor([[10.0, 10.0], [10.0, 20.0], [99.0, 20.0], [0.0, 31.0]]).T
    assert nearest_centers(points, centers, (64, 64)).tolist() == [0, 0, 0, 1]


def test_offsets_that_are_no_numbers_do_no_harm():
    points = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1e30, 40.0], [0.0, 0.0, 0.0, 0.0, 40.0]])
    nearest = nearest_centers(points, torch.tensor([[5, 5], [40, 40]]), (64, 64))
    assert nearest[-1] == 1 and set(nearest.tolist()) <= {0, 1}


def scene(count, noise, size=(120, 200), within=1.0):
    """Class map, heatmap and offsets with centres in a part of the image; pixels point at centres, or past them."""
    heatmap = torch.rand(size) * 0.01
    centers = torch.stack([(torch.rand(count) * within * side).long() for side in size], dim=1)
    heatmap[centers[:, 0], centers[:, 1]] = 0.5 + torch.rand(count) / 2
    wanted = centers[torch.randint(0, count, (size[0] * size[1],))].T.view(2, *size)
    y, x = torch.arange(size[0])[:, None], torch.arange(size[1])
    offset = torch.stack((wanted[0] - y, wanted[1] - x)) + noise * torch.randn(2, *size)
    return torch.randint(0, 4, size), heatmap, offset


@pytest.mark.parametrize(
    ("count", "noise", "within", "sure"),
    [(1, 0.0, 1, True), (12, 3.0, 1, True), (60, 2.0, 1, True), (60, 2.0, 0.15, False), (9, 300.0, 1, False)],
)
def test_groups_of_fixed_shapes_are_those_of_all_distances_or_say_that_they_may_not_be(count, noise, within, sure):
    torch.manual_seed(count)
    semantic, heatmap, offset = scene(count, noise, within=within)
    config = MergeConfig(nms_kernel=3, center_threshold=0.1, top_k=70)
    centers = find_centers(heatmap, 0.1, 3, 70)
    expected = group_pixels(semantic, centers, offset, (2, 3), 2000)
    groups, exact = group_pixels_fixed(semantic, heatmap, offset, (2, 3), 4, 2000, config)
    assert exact == sure
    if sure:
        assert torch.equal(groups.areas[groups.areas > 0], expected.areas[expected.areas > 0])
        assert torch.equal(groups.labels[groups.of_pixel], expected.labels[expected.of_pixel])


@pytest.mark.parametrize("top_k", [1, 5, 6, 300])
def test_a_fixed_number_of_centers_begins_with_those_that_are_there(top_k):
    _, heatmap, _ = scene(6, 0.0, (9, 20))
    centers, present = fixed_centers(heatmap, 0.1, 3, top_k)
    assert len(centers) == top_k and torch.equal(centers[present], find_centers(heatmap, 0.1, 3, top_k))
    assert torch.equal(present, present.sort(descending=True).values)


def test_without_centers_groups_of_fixed_shapes_are_classes():
    semantic = torch.randint(0, 4, (16, 24))
    nothing = torch.zeros(16, 24), torch.zeros(2, 16, 24)
    groups, exact = group_pixels_fixed(semantic, *nothing, (2, 3), 4, 1, MergeConfig())
    expected = torch.tensor([0, LABEL_DIVISOR, VOID, VOID])
    assert exact and torch.equal(groups.labels[groups.of_pixel], expected[semantic])


def test_centers_are_peaks_above_the_threshold():
    heatmap = torch.zeros(9, 9)
    heatmap[2, 2], heatmap[2, 4], heatmap[7, 7], heatmap[0, 8] = 0.9, 0.8, 0.5, 0.05
    assert find_centers(heatmap, 0.1, 3, 200).tolist() == [[2, 2], [2, 4], [7, 7]]
    assert find_centers(heatmap, 0.1, 7, 200).tolist() == [[2, 2], [7, 7]]
    assert find_centers(heatmap, 0.1, 3, 2).tolist() == [[2, 2]]  # strictly above the second highest
    assert find_centers(torch.zeros(9, 9), 0.1, 7, 200).shape == (0, 2)


@pytest.mark.parametrize("nms_kernel", [1, 3, 5, 7, 11])
def test_peaks_are_those_of_max_pooling(nms_kernel):
    heatmap = torch.rand(30, 41).mul(20).round() / 20  # with plateaus
    pooled = torch.nn.functional.max_pool2d(heatmap[None], nms_kernel, stride=1, padding=nms_kernel // 2)[0]
    expected = ((heatmap == pooled) & (heatmap > 0.3)).nonzero()
    assert torch.equal(find_centers(heatmap, 0.3, nms_kernel, 10**6), expected)


def merge(semantic, center, offset, **changes):
    settings = dict(center_threshold=0.1, nms_kernel=3, top_k=10, stuff_area=3) | changes
    return panoptic_labels(semantic, center, offset, (2, 3), **settings)


def test_majority_vote_small_stuff_and_numbers_within_classes():
    # Class 0 fills the left; class 1 is too small; two instances whose votes are 2 and 3; one of three pixels of 3.
    semantic = torch.tensor([[0, 0, 2, 2, 2, 3], [0, 0, 3, 2, 3, 3], [1, 1, 2, 2, 3, 3]])
    center = torch.zeros(3, 6)
    center[1, 2], center[1, 5] = 1.0, 0.9
    labels = merge(semantic, center, torch.zeros(2, 3, 6))
    assert labels.tolist() == [
        [0, 0, 2001, 2001, 3001, 3001],
        [0, 0, 2001, 2001, 3001, 3001],
        [VOID, VOID, 2001, 2001, 3001, 3001],
    ]


def test_things_without_a_center_and_scenes_without_things():
    semantic = torch.full((4, 4), 2)
    assert (merge(semantic, torch.zeros(4, 4), torch.zeros(2, 4, 4)) == VOID).all()
    assert (merge(semantic * 0, torch.ones(4, 4), torch.zeros(2, 4, 4)) == 0).all()


@pytest.mark.parametrize("size", [(32, 48), (20, 44)])
def test_result_of_a_perfect_prediction(size):
    """Two discs on one stuff class come back with ids, areas, classes and scores."""
    h, w = 8, 12
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    logits = torch.zeros(1, 3, h, w)
    center, offset = torch.zeros(1, 1, h, w), torch.zeros(1, 2, h, w)
    logits[:, 0] = 20.0
    for category, (y, x) in ((1, (2, 2)), (2, (5, 9))):
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= 3
        logits[0, category][inside] = 40.0
        offset[0, 0][inside], offset[0, 1][inside] = (y - rows)[inside].float(), (x - columns)[inside].float()
        center[0, 0, y, x] = 0.8
        center[0, 0, y + 1, x], center[0, 0, y, x + 1] = 0.3, 0.2  # one highest pixel once upsampled
    prediction = CenterOffsetPrediction(SemanticPrediction.from_logits(logits), center, offset)
    result = center_offset_panoptic(prediction, 0, (32, 48), size, (1, 2), MergeConfig(nms_kernel=3))
    segments = result.panoptic.segments
    assert result.panoptic.ids.shape == size and result.panoptic.ids.min() == 1
    assert [segment.category for segment in segments] == [0, 1, 2]
    assert [segment.area for segment in segments] == [(result.panoptic.ids == s.id).sum() for s in segments]
    assert segments[0].score > 0.9 and 0.3 < segments[1].score < 0.8
    np.testing.assert_array_equal(result.semantic, result.panoptic.semantic())


def test_classes_beyond_8_bits():
    logits = 20 * torch.nn.functional.one_hot(torch.full((1, 8, 8), 299), 300).movedim(3, 1).float()
    prediction = CenterOffsetPrediction(
        SemanticPrediction.from_logits(logits), torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 8, 8)
    )
    result = center_offset_panoptic(prediction, 0, (32, 32), (32, 32), (1,), MergeConfig())
    assert (result.semantic == 299).all() and result.panoptic.segments[0].category == 299
