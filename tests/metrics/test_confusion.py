import pytest

from pisr_core.metrics.confusion import Confusion
from pisr_core.metrics.overlaps import segment_overlaps
from pisr_core.metrics.panoptic_quality import match_segments


@pytest.fixture
def confusion():
    def count(prediction, truth, num_classes=2):
        overlaps = segment_overlaps(truth, prediction)
        metric = Confusion(num_classes)
        metric.update(overlaps, match_segments(overlaps).ignored)
        return tuple(map(tuple, metric.result().table(range(num_classes + 1)).tolist()))

    return count


def test_each_annotated_segment_counts_for_what_covers_most_of_it(segmentation, confusion):
    truth = segmentation(["1111222"], (1, 0), (2, 1))
    prediction = segmentation(["3334444"], (3, 1), (4, 1))
    assert confusion(prediction, truth) == ((0, 1, 0), (0, 1, 0), (0, 0, 0))


def test_segments_that_void_covers_are_missed(segmentation, confusion):
    truth = segmentation(["11122"], (1, 0), (2, 1))
    prediction = segmentation(["00333"], (3, 1))
    assert confusion(prediction, truth) == ((0, 0, 1), (0, 1, 0), (0, 0, 0))


def test_a_segment_goes_before_void_and_an_earlier_one_before_a_later_one(segmentation, confusion):
    truth = segmentation(["1122"], (1, 0), (2, 0))
    prediction = segmentation(["0334"], (4, 0), (3, 1))
    assert confusion(prediction, truth) == ((1, 1, 0), (0, 0, 0), (0, 0, 0))


def test_predictions_that_cover_most_of_nothing_are_in_the_last_row(segmentation, confusion):
    truth = segmentation(["11110000"], (1, 0))
    prediction = segmentation(["22230444"], (2, 0), (3, 1), (4, 1))
    assert confusion(prediction, truth) == ((1, 0, 0), (0, 0, 0), (0, 1, 0))


def test_crowds_and_what_lies_on_them_do_not_count(segmentation, confusion):
    truth = segmentation(["1111"], (1, 1, True))
    assert confusion(segmentation(["2233"], (2, 1), (3, 0)), truth) == ((0, 0, 0), (0, 0, 0), (1, 0, 0))


def test_nothing_gives_nothing(segmentation, confusion):
    nothing = segmentation(["00"])
    assert confusion(nothing, nothing) == ((0, 0, 0), (0, 0, 0), (0, 0, 0))
