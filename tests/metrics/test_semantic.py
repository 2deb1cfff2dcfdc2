import numpy as np
import pytest

from pisr_core.metrics.overlaps import class_overlaps
from pisr_core.metrics.semantic import MeanIoU
from pisr_core.structures import SegmentArrays


@pytest.fixture
def iou(segmentation):
    """Scores one semantic map against the annotation of digits, whose segments are their own class."""

    def score(prediction, rows, num_classes):
        present = sorted({int(digit) for row in rows for digit in row} - {0})
        truth = segmentation(rows, *((digit, digit - 1) for digit in present))
        metric = MeanIoU(num_classes)
        metric.update(
            SegmentArrays.of(truth.segments).classes, class_overlaps(truth, np.array(prediction, np.uint8), num_classes)
        )
        return metric.result()

    return score


def test_hand_computed_scores(iou):
    result = iou([[0, 1, 1, 1, 2, 255]], ["112202"], 4)
    assert result.per_class == (50.0, 50.0, None, None)
    assert result.miou == 50.0
    assert result.pixel_accuracy == pytest.approx(60.0)
    assert result.iiou_per_class is None


def test_a_class_that_only_the_prediction_has_counts_as_zero(iou):
    result = iou([[0, 1]], ["11"], 2)
    assert result.per_class == (50.0, 0.0)
    assert result.miou == 25.0


def test_nothing_labelled_gives_no_score(iou):
    result = iou([[0, 0]], ["00"], 3)
    assert result.miou is None and result.pixel_accuracy is None


def test_scores_are_those_of_the_confusion_matrix_of_pixels(random_pair, categories):
    metric, matrix = MeanIoU(6), np.zeros((6, 7))
    generator = np.random.default_rng(0)
    for _ in range(4):
        prediction, truth = random_pair(generator, categories)
        metric.update(SegmentArrays.of(truth.segments).classes, class_overlaps(truth, prediction.semantic(), 6))
        for true, predicted in zip(truth.semantic().ravel(), prediction.semantic().ravel(), strict=True):
            if true != 255:
                matrix[true, min(predicted, 6)] += 1
    right = np.diag(matrix)
    expected = 100 * right / (matrix.sum(axis=1) + matrix[:, :6].sum(axis=0) - right)
    assert metric.result().per_class == pytest.approx(expected.tolist())
    assert metric.result().miou == pytest.approx(expected.mean())


def test_classes_beyond_8_bits(segmentation):
    """Three pixels of class 255 of which one is taken for class 299, one of class 299 and one of void."""
    truth = segmentation(["11120"], (1, 255), (2, 299))
    prediction = segmentation(["11222"], (1, 255), (2, 299))
    semantic = prediction.semantic(300)
    assert semantic.dtype == np.int32 and semantic.tolist() == [[255, 255, 299, 299, 299]]
    assert truth.semantic(300).tolist() == [[255, 255, 255, 299, 65_535]]
    metric = MeanIoU(300)
    metric.update(SegmentArrays.of(truth.segments).classes, class_overlaps(truth, semantic, 300))
    result = metric.result()
    assert result.per_class[255] == pytest.approx(100 * 2 / 3) and result.per_class[299] == 50
    assert result.pixel_accuracy == 75 and set(result.per_class[:255]) == {None}


def test_maps_of_few_classes_keep_8_bits(segmentation):
    assert segmentation(["10"], (1, 254)).semantic(255).dtype == np.uint8
    assert segmentation(["10"], (1, 254)).semantic(255).tolist() == [[254, 255]]
