import time

import numpy as np
import pytest

from pisr_core.metrics.overlaps import segment_overlaps
from pisr_core.metrics.panoptic_quality import PanopticQuality, image_counts, image_pq, match_segments
from pisr_core.structures import Category, PanopticSegmentation, Segment

SKY, CAR, DOG = Category(1, "sky", False), Category(7, "car", True), Category(9, "dog", True)
CATEGORIES = (SKY, CAR, DOG)


def quality(prediction, truth):
    metric = PanopticQuality(CATEGORIES)
    metric.merge(counts(prediction, truth))
    return metric.result()


def counts(prediction, truth):
    overlaps = segment_overlaps(truth, prediction)
    return image_counts(overlaps, match_segments(overlaps), len(CATEGORIES))


def test_perfect_prediction_scores_100(segmentation):
    truth = segmentation(["1122", "1133"], (1, 0), (2, 1), (3, 1))
    result = quality(truth, truth)
    assert (result.all.pq, result.all.sq, result.all.rq, result.all.n) == (100, 100, 100, 2)
    assert (result.things.n, result.stuff.n) == (1, 1)
    assert result.per_class[1].tp == 2
    assert not result.per_class[2].occurs


def test_hand_computed_scores(segmentation):
    truth = segmentation(["11112222"], (1, 0), (2, 1))
    prediction = segmentation(["11111222"], (1, 0), (2, 1))
    result = quality(prediction, truth)
    assert result.stuff.pq == pytest.approx(100 * 4 / 5)
    assert result.things.pq == pytest.approx(100 * 3 / 4)
    assert result.all.pq == pytest.approx(100 * (4 / 5 + 3 / 4) / 2)


def test_iou_of_exactly_one_half_is_no_match(segmentation):
    truth = segmentation(["1122"], (1, 1), (2, 0))
    prediction = segmentation(["1333"], (1, 1), (3, 0))
    car = quality(prediction, truth).per_class[1]
    assert (car.tp, car.fp, car.fn) == (0, 1, 1)


def test_wrong_class_is_a_false_positive_and_a_false_negative(segmentation):
    truth, prediction = segmentation(["1111"], (1, 1)), segmentation(["1111"], (1, 2))
    result = quality(prediction, truth)
    assert (result.per_class[1].fn, result.per_class[2].fp) == (1, 1)
    assert result.things.pq == 0 and result.things.n == 2


def test_void_is_left_out_of_the_union(segmentation):
    truth, prediction = segmentation(["110000"], (1, 1)), segmentation(["111110"], (1, 1))
    assert quality(prediction, truth).per_class[1].sq == 100


@pytest.mark.parametrize(("row", "false_positives"), [("0002", 0), ("0022", 1)])
def test_predictions_mostly_on_void_are_ignored(segmentation, row, false_positives):
    truth, prediction = segmentation([row], (2, 0)), segmentation(["1111"], (1, 1))
    assert quality(prediction, truth).per_class[1].fp == false_positives


def test_crowd_excuses_predictions_of_its_class_and_is_never_missed(segmentation):
    truth = segmentation(["1111"], (1, 1, True))
    cars = quality(segmentation(["2233"], (2, 1), (3, 2)), truth)
    assert (cars.per_class[1].fp, cars.per_class[1].fn) == (0, 0)
    assert cars.per_class[2].fp == 1


def test_of_several_crowds_the_last_listed_counts(segmentation):
    rows = ["1122"]
    prediction = segmentation(["3300"], (3, 1))
    first_last = quality(prediction, segmentation(rows, (2, 1, True), (1, 1, True)))
    second_last = quality(prediction, segmentation(rows, (1, 1, True), (2, 1, True)))
    assert (first_last.per_class[1].fp, second_last.per_class[1].fp) == (0, 1)


def test_empty_groups_have_no_score(segmentation):
    nothing = segmentation(["0000"])
    result = quality(nothing, nothing)
    assert (result.all.pq, result.all.n, result.things.pq) == (None, 0, None)


def test_segments_listed_without_pixels_in_the_truth_are_missed(segmentation):
    truth = PanopticSegmentation(np.zeros((1, 4), np.int32), (Segment(5, 1, 3),))
    assert quality(segmentation(["0000"]), truth).per_class[1].fn == 1


def test_id_values_and_the_order_of_images_do_not_matter(random_pair):
    generator = np.random.default_rng(0)
    plain, moved = PanopticQuality(CATEGORIES), PanopticQuality(CATEGORIES)
    pairs = [random_pair(generator, CATEGORIES) for _ in range(6)]
    for prediction, truth in pairs:
        plain.merge(counts(prediction, truth))
    offset = np.int32(16_000_000)
    for prediction, truth in reversed(pairs):
        ids = np.where(prediction.ids > 0, prediction.ids + offset, 0).astype(np.int32)
        segments = tuple(Segment(s.id + int(offset), s.category, s.area) for s in prediction.segments)
        moved.merge(counts(PanopticSegmentation(ids, segments), truth))
    np.testing.assert_allclose(moved.state, plain.state, rtol=1e-12)
    assert (plain.state[:, 1:].sum(axis=0) > 0).all()


def test_pq_of_one_image_is_the_mean_over_its_classes(segmentation):
    truth = segmentation(["11112222"], (1, 0), (2, 1))
    prediction = segmentation(["11111222"], (1, 0), (2, 1))
    assert image_pq(counts(prediction, truth)) == pytest.approx(100 * (4 / 5 + 3 / 4) / 2)
    nothing = segmentation(["00"])
    assert image_pq(counts(nothing, nothing)) is None


def test_an_image_of_480_by_640_takes_milliseconds():
    ids = np.kron(np.arange(1, 49, dtype=np.int32).reshape(6, 8), np.ones((80, 80), np.int32))
    panoptic = PanopticSegmentation(ids, tuple(Segment(i, i % 3, 6400) for i in range(1, 49)))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        counts(panoptic, panoptic)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02
