import numpy as np
import pytest

from pisr_core.errors import DataError
from pisr_core.metrics.semantic import MeanIoU


def test_hand_computed_scores():
    truth = np.array([[0, 0, 1, 1, 255, 1]], np.uint8)
    prediction = np.array([[0, 1, 1, 1, 2, 255]], np.uint8)
    metric = MeanIoU(4)
    metric.update(prediction, truth)
    result = metric.result()
    assert result.per_class == (50.0, 50.0, None, None)
    assert result.miou == 50.0
    assert result.pixel_accuracy == pytest.approx(60.0)


def test_a_class_that_only_the_prediction_has_counts_as_zero():
    metric = MeanIoU(2)
    metric.update(np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8))
    assert metric.result().per_class == (50.0, 0.0)
    assert metric.result().miou == 25.0


def test_two_halves_merge_to_the_whole():
    generator = np.random.default_rng(0)
    maps = generator.integers(0, 5, (4, 2, 9, 11)).astype(np.uint8)
    whole, first, second = MeanIoU(5), MeanIoU(5), MeanIoU(5)
    for index, (prediction, truth) in enumerate(maps):
        whole.update(prediction, truth)
        (first if index % 2 else second).update(prediction, truth)
    first.merge(second)
    assert first.result() == whole.result()


def test_nothing_labelled_gives_no_score():
    metric = MeanIoU(3)
    metric.update(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    assert metric.result().miou is None and metric.result().pixel_accuracy is None


def test_more_classes_than_a_map_can_hold_are_refused():
    with pytest.raises(DataError, match="255"):
        MeanIoU(256)
