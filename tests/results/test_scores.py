import pytest

from pisr_core.metrics.confusion import SegmentConfusion
from pisr_core.metrics.detections import InstanceResult
from pisr_core.metrics.panoptic_quality import ClassQuality, GroupQuality, PanopticQualityResult
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.semantic import SemanticResult
from pisr_core.results.scores import Mixup, class_table, frequent_mixups, group_table, headline
from pisr_core.structures import Category


@pytest.fixture
def result():
    return EvaluationResult(
        categories=(Category(7, "road", False), Category(26, "car", True), Category(33, "bicycle", True)),
        panoptic=PanopticQualityResult(
            all=GroupQuality(40.0, 80.0, 50.0, 2),
            things=GroupQuality(20.0, 70.0, 30.0, 1),
            stuff=GroupQuality(60.0, 90.0, 70.0, 1),
            per_class=(
                ClassQuality(60.0, 90.0, 70.0, 7, 3, 2),
                ClassQuality(20.0, 70.0, 30.0, 3, 4, 5),
                ClassQuality(0.0, 0.0, 0.0, 0, 0, 0),
            ),
        ),
        semantic=SemanticResult(55.0, 90.0, (70.0, 40.0, None), 35.0, 45.0, (None, 35.0, None)),
        instance=InstanceResult(15.0, 25.0, None, None, None, None, (None, 15.0, None), (None, 25.0, None)),
        confusion=SegmentConfusion({(0, 0): 7, (0, 1): 1, (0, 3): 1, (1, 0): 3, (1, 1): 4, (1, 3): 1, (3, 0): 2}),
        worst=(),
        images=4,
        seconds=1.0,
    )


def test_the_headline_has_the_papers_names(result):
    assert headline(result) == {
        "PQ": 40.0, "SQ": 80.0, "RQ": 50.0, "PQ_th": 20.0, "PQ_st": 60.0, "mIoU": 55.0, "iIoU": 35.0, "AP": 15.0,
        "AP50": 25.0,
    }  # fmt: skip


def test_classes_have_their_scores_and_gaps(result):
    table = class_table(result)
    assert table.columns == ("class", "kind", "PQ", "SQ", "RQ", "IoU", "iIoU", "AP", "AP50", "TP", "FP", "FN")
    assert list(table.rows[0].values()) == ["road", "stuff", 60.0, 90.0, 70.0, 70.0, None, None, None, 7, 3, 2]
    assert list(table.rows[1].values()) == ["car", "thing", 20.0, 70.0, 30.0, 40.0, 35.0, 15.0, 25.0, 3, 4, 5]
    assert list(table.rows[2].values()) == ["bicycle", "thing", *[None] * 7, 0, 0, 0]


def test_groups(result):
    assert [list(row.values()) for row in group_table(result).rows] == [
        ["all", 40.0, 80.0, 50.0, 2],
        ["things", 20.0, 70.0, 30.0, 1],
        ["stuff", 60.0, 90.0, 70.0, 1],
    ]


def test_mixups_are_ordered_and_leave_out_what_is_right(result):
    assert frequent_mixups(result, limit=3) == [
        Mixup("car", "road", 3, 37.5),
        Mixup("nothing", "road", 2, None),
        Mixup("road", "car", 1, 100 / 9),
    ]
