from dataclasses import replace

import numpy as np
import pytest

from pisr_core.data.coco.files import id_to_rgb
from pisr_core.errors import DataError
from pisr_core.metrics.overlaps import SegmentMap, class_overlaps, map_overlaps, segment_overlaps
from pisr_core.structures import PanopticSegmentation, Segment, SegmentArrays


def test_hand_counted_table(segmentation):
    truth = segmentation(["1100", "2200"], (2, 0), (1, 1))
    prediction = segmentation(["3304", "0330"], (3, 1), (4, 0))
    overlaps = segment_overlaps(truth, prediction)
    assert overlaps.pixels.tolist() == [[2, 1, 1], [1, 1, 0], [0, 2, 0]]
    assert overlaps.on_void.tolist() == [1, 1]
    assert overlaps.true_areas.tolist() == [2, 2]
    assert overlaps.predicted_areas.tolist() == [4, 1]
    assert overlaps.by_class(3).tolist() == [[1, 1, 0, 2], [0, 1, 0, 1], [0, 2, 0, 0]]


def test_the_table_by_class_is_that_of_the_semantic_map(random_pair, categories):
    prediction, truth = random_pair(np.random.default_rng(0), categories)
    expected = class_overlaps(truth, prediction.semantic(), len(categories))
    assert (segment_overlaps(truth, prediction).by_class(len(categories)) == expected).all()


def test_a_semantic_map_without_classes_fills_the_last_column(segmentation):
    truth = segmentation(["1120"], (1, 0), (2, 1))
    table = class_overlaps(truth, np.array([[1, 255, 7, 0]], np.uint8), 2)
    assert table.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_maps_without_segments_and_maps_of_noise_are_counted(segmentation):
    nothing = segmentation(["000"])
    assert segment_overlaps(nothing, nothing).pixels.tolist() == [[3]]
    ids = np.random.default_rng(0).permutation(2**24 - 1)[:400].astype(np.int32).reshape(20, 20) + 1
    noise = PanopticSegmentation(ids, tuple(Segment(int(i), 0, 1) for i in ids.ravel()))
    assert (segment_overlaps(noise, noise).shared == np.eye(400)).all()


@pytest.mark.parametrize(
    ("rows", "segments", "message"),
    [
        (["11", "11"], [(1, 1)], "map of 2×2 for an annotation of 1×4"),
        (["1112"], [(1, 1)], "prediction: segment 2 is in the map"),
        (["1111"], [(1, 1), (2, 1)], "prediction: segment 2 is listed"),
    ],
)
def test_contradictions_are_named(segmentation, rows, segments, message):
    with pytest.raises(DataError, match=message):
        segment_overlaps(segmentation(["1111"], (1, 1)), segmentation(rows, *segments))


def test_unlisted_segments_of_the_annotation_are_named(segmentation):
    with pytest.raises(DataError, match="annotation: segment 3 is in the map"):
        segment_overlaps(segmentation(["1133"], (1, 1)), segmentation(["1111"], (1, 1)))


def test_colours_give_the_table_of_their_ids(random_pair, categories):
    """Ids of which one byte, or several, differ from those of their neighbours."""
    prediction, truth = random_pair(np.random.default_rng(0), categories)
    maps = []
    for panoptic, ids in ((truth, np.arange(20) * 70_001), (prediction, np.arange(20) * 256)):
        segments = SegmentArrays.of([replace(segment, id=int(ids[segment.id])) for segment in panoptic.segments])
        maps.append(SegmentMap(id_to_rgb(ids[panoptic.ids]), segments))
    overlaps = map_overlaps(*maps)
    assert (overlaps.pixels == segment_overlaps(truth, prediction).pixels).all()
    assert (overlaps.prediction.ids == 256 * prediction.ids).all()
