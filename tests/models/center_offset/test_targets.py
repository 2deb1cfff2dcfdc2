import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from pisr_core.config import TargetConfig
from pisr_core.models.center_offset.targets import CenterOffsetTargetGenerator
from pisr_core.structures import IGNORE_INDEX, PanopticSegmentation, Segment


def generator(**settings):
    """Class 0 is stuff, class 1 a thing."""
    return CenterOffsetTargetGenerator(TargetConfig(**settings), thing_ids=(1,))


def map_of(rows, *segments):
    return PanopticSegmentation(np.array(rows, dtype=np.int32), segments)


def test_equals_the_reference_case(parts_case, record_property):
    settings = json.loads((parts_case / "deeplab_targets.json").read_text())
    expected = np.load(parts_case / "deeplab_targets.npz")
    segments = tuple(
        Segment(info["id"], info["category_id"], area=0, iscrowd=bool(info["iscrowd"]))
        for info in settings["segments_info"]
    )
    # The defaults' types: JSON does not tell 8 from 8.0.
    known = [field for field in fields(TargetConfig) if field.name in settings]
    values = {field.name: type(field.default)(settings[field.name]) for field in known}
    targets = CenterOffsetTargetGenerator(TargetConfig(**values), settings["thing_ids"])(
        PanopticSegmentation(expected["panoptic"], segments)
    )
    names = {
        "semantic": "sem_seg",
        "semantic_weight": "sem_seg_weights",
        "center": "center",
        "center_weight": "center_weights",
        "offset": "offset",
        "offset_weight": "offset_weights",
    }
    for ours, theirs in names.items():
        value = getattr(targets, ours)
        reference = torch.from_numpy(expected[theirs]).reshape(value.shape)
        record_property(f"target {ours}, absolute", float((value - reference).abs().max()))
        torch.testing.assert_close(value, reference, atol=1e-6, rtol=0, check_dtype=False)


def test_center_and_offsets_of_one_instance_by_hand():
    panoptic = map_of([[1, 1, 1, 0], [1, 7, 7, 7], [1, 1, 1, 1]], Segment(1, 0, 8), Segment(7, 1, 3))
    targets = generator(sigma=1.0)(panoptic)
    # The instance's pixels are (1,1), (1,2), (1,3): its centre of mass is (1, 2).
    assert targets.offset[0].tolist() == [[0] * 4] * 3
    assert targets.offset[1].tolist() == [[0] * 4, [0, 1, 0, -1], [0] * 4]
    assert targets.center[0, 1, 2] == 1
    assert targets.center[0, 0, 1].item() == pytest.approx(np.exp(-1))
    assert targets.semantic.tolist() == [[0, 0, 0, IGNORE_INDEX], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert targets.center_weight[0].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert targets.offset_weight[0].tolist() == [[0] * 4, [0, 1, 1, 1], [0] * 4]


def test_offsets_point_at_the_mean_of_each_instance():
    ids = np.random.default_rng(0).integers(0, 6, (20, 30)).astype(np.int32)
    panoptic = PanopticSegmentation(ids, tuple(Segment(i, 1, 0) for i in range(1, 6)))
    offset = generator()(panoptic).offset.numpy()
    for segment in panoptic.segments:
        pixels = np.argwhere(ids == segment.id)
        goals = pixels + offset[:, ids == segment.id].T
        np.testing.assert_allclose(goals, np.broadcast_to(pixels.mean(axis=0), goals.shape), atol=1e-5)


def test_small_instances_weigh_more():
    panoptic = map_of([[1, 2, 2, 3]], Segment(1, 1, 1), Segment(2, 1, 2), Segment(3, 0, 1))
    weights = generator(small_instance_area=2, small_instance_weight=5.0)(panoptic).semantic_weight
    assert weights.tolist() == [[5, 1, 1, 1]]


def test_crowds_can_be_learnt_as_one_instance():
    panoptic = map_of([[1, 1, 1, 0]], Segment(1, 1, 3, iscrowd=True))
    targets = generator(ignore_crowd_in_instances=False)(panoptic)
    assert targets.center_weight[0].tolist() == targets.offset_weight[0].tolist() == [[1, 1, 1, 0]]
    assert targets.offset[1].tolist() == [[1, 0, -1, 0]]


@pytest.mark.parametrize("ignored", [True, False])
def test_crowds_keep_their_center_but_weigh_nothing(ignored):
    panoptic = map_of([[1, 1, 1]], Segment(1, 1, 3, iscrowd=True))
    targets = generator(ignore_crowd_in_semantic=ignored)(panoptic)
    assert targets.center[0, 0, 1] == 1
    assert targets.center_weight.sum() == targets.offset_weight.sum() == 0
    assert (targets.semantic == (IGNORE_INDEX if ignored else 1)).all()


def test_stuff_may_count_in_the_offset_loss():
    panoptic = map_of([[1, 0]], Segment(1, 0, 1))
    assert generator(ignore_stuff_in_offset=False)(panoptic).offset_weight.tolist() == [[[1, 0]]]


def test_nothing_but_void():
    targets = generator()(map_of([[0, 0], [0, 0]]))
    assert (targets.semantic == IGNORE_INDEX).all()
    assert targets.center.sum() == targets.center_weight.sum() == targets.offset.abs().sum() == 0


def test_segments_without_pixels_draw_no_center():
    targets = generator()(map_of([[1, 1]], Segment(1, 0, 2), Segment(2, 1, 0)))
    assert targets.center.sum() == 0


def test_the_256th_of_many_classes_is_not_void():
    targets = CenterOffsetTargetGenerator(TargetConfig(), (1,), 300)(map_of([[1, 0]], Segment(1, 255, 1)))
    assert targets.semantic.tolist() == [[255, 65_535]]
