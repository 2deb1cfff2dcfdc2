"""What is told of each image, and of annotations that are likely wrong."""

import json

import numpy as np
import pytest

from pisr_core.metrics.doubts import Doubt, Doubts
from pisr_core.metrics.scores import Scores
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (Category(7, "car", True), Category(9, "bus", True), Category(11, "road", False))


def panoptic(rows, segments):
    return PanopticSegmentation(np.array(rows, np.int32), tuple(segments))


TRUTH = panoptic([[1, 1, 1, 1, 2, 2, 2, 2], [3] * 8], [Segment(1, 0, 4), Segment(2, 0, 4), Segment(3, 2, 8)])


def scored(*predictions):
    scores = Scores(CATEGORIES, instances=False, semantic=False, details=True)
    for number, prediction in enumerate(predictions):
        scores.update(number, f"{number}.png", prediction, TRUTH)
    return scores


def test_each_image_has_its_counts():
    half = panoptic([[1, 1, 1, 1, 0, 0, 0, 0], [3] * 8], [Segment(1, 0, 4), Segment(3, 2, 8)])
    document = scored(TRUTH, half).result(0.0).details_to_json()
    assert document["categories"][1] == {"id": 9, "name": "bus", "isthing": 1}
    first, second = document["per_image"]
    assert first["classes"] == {"7": [2, 2, 0, 0], "11": [1, 1, 0, 0]} and first["pq"] == 100
    assert second["classes"] == {"7": [1, 1, 0, 1], "11": [1, 1, 0, 0]} and second["mistaken_pixels"] == 4
    assert second["pq"] == pytest.approx((100 / 1.5 + 100) / 2) and json.dumps(document)


def test_confident_disagreement_on_whole_segments_raises_doubts():
    """A bus of score 0.9 on one car, the road predicted over another, and an unsure bus, which raises none."""
    segments = [Segment(1, 1, 4, score=0.9), Segment(3, 2, 12, score=0.95)]
    sure = panoptic([[1, 1, 1, 1, 3, 3, 3, 3], [3] * 8], segments)
    unsure = panoptic([[1, 1, 1, 1, 2, 2, 2, 2], [3] * 8], [Segment(1, 1, 4, score=0.7), *TRUTH.segments[1:]])
    doubts = scored(sure, unsure).result(0.0).details.doubts
    assert [(d.image_id, d.segment, d.annotated, d.predicted, d.pixels, d.score) for d in doubts] == [
        (0, 2, 0, 2, 4, 0.95),
        (0, 1, 0, 1, 4, 0.9),
    ]
    assert doubts[0].weight == pytest.approx(0.95 * 4 / 16)


def test_a_border_raises_no_doubt():
    """One pixel of the road beside a right car."""
    shifted = panoptic(
        [[1, 1, 1, 1, 2, 2, 2, 2], [1] + [3] * 7], [Segment(1, 0, 5), Segment(2, 0, 4), Segment(3, 2, 7)]
    )
    assert scored(shifted).result(0.0).details.doubts == ()


def test_the_worst_are_kept_whatever_their_order():
    doubts = [Doubt(i, "a", 1, 0, 1, 1, 1.0, weight) for i, weight in enumerate((0.1, 0.5, 0.3))]
    kept = Doubts(limit=2)
    for doubt in doubts:
        kept.merge([doubt])
    assert [doubt.image_id for doubt in kept.result()] == [1, 2]


def test_states_of_several_processes_add_up():
    half = panoptic([[1, 1, 1, 1, 0, 0, 0, 0], [3] * 8], [Segment(1, 0, 4), Segment(3, 2, 8)])
    together, one, two = scored(TRUTH, half), scored(TRUTH), Scores(CATEGORIES, False, semantic=False, details=True)
    two.update(1, "1.png", half, TRUTH)
    one.merge(two.state())
    assert one.result(0.0).to_json() == together.result(0.0).to_json()
    assert one.result(0.0).details_to_json() == together.result(0.0).details_to_json()


def test_nothing_is_kept_where_nobody_asks():
    scores = Scores(CATEGORIES, instances=False, semantic=False)
    scores.update(1, "1.png", TRUTH, TRUTH)
    result = scores.result(0.0)
    assert scores.details is None and result.details_to_json() == {} and "errors" not in result.to_json()
